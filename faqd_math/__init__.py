"""The definitions and the theory of feature affinity: small, pure, readable beside the paper."""

from faqd_math import claims, cost, quantize, released
from faqd_math.features import affinity
from faqd_math.gradients import fa_gradient, ffa_gradient
from faqd_math.losses import fa_loss, ffa_loss
from faqd_math.probes import sample_probes
from faqd_math.spectrum import effective_rank, gap_spectrum, stable_rank
from faqd_math.theory import bounds, estimators, law, moments, order_one

__version__ = "0.1.0"

__all__ = [
    "affinity",
    "bounds",
    "claims",
    "cost",
    "effective_rank",
    "estimators",
    "fa_gradient",
    "fa_loss",
    "ffa_gradient",
    "ffa_loss",
    "gap_spectrum",
    "law",
    "moments",
    "order_one",
    "quantize",
    "released",
    "sample_probes",
    "stable_rank",
]
