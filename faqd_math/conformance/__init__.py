"""Check anyone's FA or FFA, NumPy or torch, against the statements of the theory.

Needs the extra ``faqd[testing]`` (Hypothesis).
"""

from faqd_math.conformance.conventions import Conventions
from faqd_math.conformance.counterexample import counterexample
from faqd_math.conformance.implementation import Implementation
from faqd_math.conformance.run import Finding, check, detectable_bias
from faqd_math.conformance.suite import Property, suite

__all__ = [
    "Conventions",
    "Finding",
    "Implementation",
    "Property",
    "check",
    "counterexample",
    "detectable_bias",
    "suite",
]
