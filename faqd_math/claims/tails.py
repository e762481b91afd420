"""Tail bounds B1–B9 against the exact law, and the exact law against replications (§3)."""

from __future__ import annotations

from functools import partial

import numpy as np

from faqd_math._validation import Array
from faqd_math.claims.chance import rate_is, rate_is_at_most
from faqd_math.claims.estimates import ffa_replications
from faqd_math.claims.evidence import Claim, Evidence, Sampling
from faqd_math.claims.subjects import Case
from faqd_math.theory.bounds import GAUSSIAN_BOUNDS, Bound, rademacher
from faqd_math.theory.law import failure_probability
from faqd_math.theory.order_one import concentration_bound, ffa_mean

_PROBES = (1, 5, 15, 50)
_ERRORS = np.array([0.1, 0.3, 0.5, 0.75, 1.0])
# The exact law and the bounds are each computed to about 1e-11 relative accuracy.
_LAW_ACCURACY = 1e-9

_RADEMACHER_ERROR = 0.75  # the largest that B10 allows
_LARGEST_ERROR = {"B7": 1.0, "B8": 1.0}


def _bounded(case: Case, sampling: Sampling, *, bound: Bound, largest_error: float) -> Evidence:
    """Largest ratio of the exact failure probability to its bound: 1 would be tight."""
    worst = 0.0
    for k, probabilities in zip(_PROBES, _probabilities(case, sampling), strict=True):
        for epsilon, exact in zip(_ERRORS.tolist(), probabilities.tolist(), strict=True):
            if epsilon > largest_error:
                continue
            stated = bound(case.spectrum, k, epsilon)
            # Both underflow to 0 where the gap has hundreds of equal eigenvalues.
            worst = max(worst, exact / stated if stated > 0 else (np.inf if exact > 0 else 0.0))
    return Evidence(worst, 1.0, "<=", _LAW_ACCURACY)


def _probabilities(case: Case, sampling: Sampling) -> Array:
    """Exact failure probabilities, probes by errors, which all bounds share."""

    def compute() -> Array:
        return np.stack([failure_probability(case.spectrum, k, _ERRORS) for k in _PROBES])

    return sampling.once((case, "exact law"), compute)


def _exact_law(case: Case, sampling: Sampling) -> Evidence:
    """Share of replications that miss by a typical error, against the exact probability."""
    values = ffa_replications(case, sampling)
    epsilon = float(np.sqrt(2 / (sampling.k * case.effective_rank)))
    expected = failure_probability(case.spectrum, sampling.k, epsilon)
    missed = int((np.abs(values - 1) >= epsilon).sum())
    return rate_is(missed, len(values), expected, sampling)


def _rademacher(case: Case, sampling: Sampling) -> Evidence:
    values = ffa_replications(case, sampling, law="rademacher")
    stated = rademacher(case.spectrum, sampling.k, _RADEMACHER_ERROR)
    missed = int((np.abs(values - 1) >= _RADEMACHER_ERROR).sum())
    return rate_is_at_most(missed, len(values), stated, sampling)


def _order_one(case: Case, sampling: Sampling) -> Evidence:
    """Share of draws of L̂₁ that miss its mean by what B11 allows with probability 1/4."""
    norm = np.abs(case.spectrum).max()
    deviation = float(norm * np.sqrt(2 * np.log(8) / (sampling.k * case.n**3)))
    values = ffa_replications(case, sampling, order=1) / case.n**2
    missed = np.abs(values - ffa_mean(case.student, case.teacher)) >= deviation
    stated = concentration_bound(case.spectrum, case.n, sampling.k, deviation)
    return rate_is_at_most(int(missed.sum()), len(values), stated, sampling)


TAILS = (
    Claim("LAW", "replication", _exact_law),
    *(
        Claim(
            claim_id,
            "exact law",
            partial(_bounded, bound=bound, largest_error=_LARGEST_ERROR.get(claim_id, np.inf)),
        )
        for claim_id, bound in GAUSSIAN_BOUNDS.items()
    ),
    Claim("B10", "replication", _rademacher),
    Claim("B11", "replication", _order_one),
)
