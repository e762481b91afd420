"""Tail bounds against the exact law or draws, and the exact law against draws (§3)."""

from __future__ import annotations

from functools import partial

import numpy as np

from faqd_math._validation import Array
from faqd_math.claims.chance import rate_is, rate_is_at_most
from faqd_math.claims.estimates import ffa_replications
from faqd_math.claims.evidence import Claim, Evidence, Sampling
from faqd_math.claims.subjects import Case
from faqd_math.theory.bounds import BOUNDS, Bound
from faqd_math.theory.law import failure_probability
from faqd_math.theory.order_one import concentration_bound, ffa_mean

_PROBES = (1, 5, 15, 50)
_ERRORS = np.array([0.1, 0.3, 0.5, 0.75, 1.0])
# The exact law and the bounds are each computed to about 1e-11 relative accuracy.
_LAW_ACCURACY = 1e-9


def _above_exact_law(case: Case, sampling: Sampling, *, bound: Bound) -> Evidence:
    """Largest ratio of the exact failure probability to its bound: 1 would be tight."""

    def probabilities(own: Sampling) -> Array:
        del own  # the same for all bounds, without a draw
        return np.stack([failure_probability(case.spectrum, k, _ERRORS) for k in _PROBES])

    worst = 0.0
    table = sampling.shared("exact law", case, probabilities)
    for k, probabilities_at_k in zip(_PROBES, table.tolist(), strict=True):
        for epsilon, exact in zip(_ERRORS.tolist(), probabilities_at_k, strict=True):
            if epsilon > bound.epsilon_at_most:
                continue
            stated = bound(case.spectrum, k, epsilon)
            # Both underflow to 0 where the gap has hundreds of equal eigenvalues.
            worst = max(worst, exact / stated if stated > 0 else (np.inf if exact > 0 else 0.0))
    return Evidence(worst, 1.0, "<=", _LAW_ACCURACY)


def _above_draws(case: Case, sampling: Sampling, *, bound: Bound) -> Evidence:
    """Share of draws that miss by the largest error that the bound covers, up to 1."""
    values = ffa_replications(case, sampling, law=bound.probes)
    epsilon = min(bound.epsilon_at_most, 1.0)
    stated = bound(case.spectrum, sampling.k, epsilon)
    missed = int((np.abs(values - 1) >= epsilon).sum())
    return rate_is_at_most(missed, len(values), stated, sampling)


def _exact_law(case: Case, sampling: Sampling) -> Evidence:
    """Share of replications that miss by a typical error, against the exact probability."""
    values = ffa_replications(case, sampling)
    epsilon = float(np.sqrt(2 / (sampling.k * case.effective_rank)))
    expected = failure_probability(case.spectrum, sampling.k, epsilon)
    missed = int((np.abs(values - 1) >= epsilon).sum())
    return rate_is(missed, len(values), expected, sampling)


def _order_one(case: Case, sampling: Sampling) -> Evidence:
    """Share of draws of L̂₁ that miss its mean by what B11 allows with probability 1/4."""
    norm = np.abs(case.spectrum).max()
    deviation = float(norm * np.sqrt(2 * np.log(8) / (sampling.k * case.n**3)))
    values = ffa_replications(case, sampling, order=1) / case.n**2
    missed = np.abs(values - ffa_mean(case.student, case.teacher)) >= deviation
    stated = concentration_bound(case.spectrum, case.n, sampling.k, deviation)
    return rate_is_at_most(int(missed.sum()), len(values), stated, sampling)


def bound_claim(bound: Bound) -> Claim:
    """Check a bound on gaussian probes by the exact law, and any other by draws."""
    if bound.probes == "gaussian":
        return Claim(bound.id, "exact law", partial(_above_exact_law, bound=bound))
    return Claim(bound.id, "replication", partial(_above_draws, bound=bound))


TAILS = (
    Claim("LAW", "replication", _exact_law),
    *map(bound_claim, BOUNDS.values()),
    Claim("B11", "replication", _order_one),
)
