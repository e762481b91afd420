"""Check anyone's FA or FFA, NumPy or torch, against the statements of the theory.

Needs the extra ``faqd[testing]`` (Hypothesis).
"""

from faqd_math.checking.conventions import Conventions
from faqd_math.checking.counterexample import counterexample
from faqd_math.checking.implementation import Implementation
from faqd_math.checking.run import Finding, check, detectable_bias
from faqd_math.checking.suite import Property, suite

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
