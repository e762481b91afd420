"""Tail bounds B1–B9 against the exact law, and the exact law against replications (§3)."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy import stats

from faqd_math.bounds import GAUSSIAN_BOUNDS, Bound
from faqd_math.claims.estimates import ffa_replications
from faqd_math.claims.evidence import Case, Claim, Evidence, Sampling
from faqd_math.law import failure_probability

_PROBES = (1, 5, 15, 50)
_ERRORS = (0.1, 0.3, 0.5, 0.75, 1.0)
# The exact law and the bounds are each computed to about 1e-11 relative accuracy.
_LAW_ACCURACY = 1e-9

_SOURCES = {
    "B1": ("Chebyshev's bound is above the exact law (ratio).", "Chebyshev"),
    "B2": ("Cantelli's bound is above the exact law (ratio).", "Cantelli"),
    "B3": ("Laurent and Massart's bound is, too.", "Laurent & Massart 2000"),
    "B4": ("2exp(−kε²/(4/ρ + 4ε/r∞)) is, too.", "Cortinovis & Kressner 2022"),
    "B5": ("[(1±ε)e^∓ε]^(k/2) is on each side.", "Tropp et al. 2019"),
    "B6": ("B5 with exponent k·r∞/2 is, too.", "derived"),
    "B7": ("2exp(−k·r∞·ε²/8) is, for ε ≤ 1.", "Roosta-Khorasani & Ascher 2015"),
    "B8": ("20ε⁻²ln(2/δ) probes suffice, for ε ≤ 0.1.", "Avron & Toledo 2011"),
    "B9": ("Chernoff's infimum is above the exact law.", "Chernoff"),
}
_LARGEST_ERROR = {"B7": 1.0, "B8": 0.1}


def _bounded(case: Case, _: Sampling, *, bound: Bound, largest_error: float) -> Evidence:
    """Largest ratio of the exact failure probability to its bound: 1 would be tight."""
    ratios = [
        failure_probability(case.spectrum, k, epsilon) / bound(case.spectrum, k, epsilon)
        for k in _PROBES
        for epsilon in _ERRORS
        if epsilon <= largest_error
    ]
    return Evidence(max(ratios), 1.0, "<=", _LAW_ACCURACY)


def _exact_law(case: Case, sampling: Sampling) -> Evidence:
    """Share of replications that miss by a typical error, against the exact probability."""
    values = ffa_replications(case, sampling)
    epsilon = float(np.sqrt(2 / (sampling.k * case.effective_rank)))
    expected = failure_probability(case.spectrum, sampling.k, epsilon)
    missed = int((np.abs(values - 1) >= epsilon).sum())
    trials = len(values)
    # The exact binomial quantiles, of which the allowance is the farther.
    reach = stats.binom.isf(sampling.false_alarm / 2, trials, expected) / trials - expected
    fall = expected - stats.binom.ppf(sampling.false_alarm / 2, trials, expected) / trials
    return Evidence(missed / trials, expected, "=", max(reach, fall))


TAILS = (
    Claim(
        "LAW",
        "kT = Σλ²χ²_k: the exact law gives the failure rate.",
        "Imhof 1961",
        "replication",
        _exact_law,
    ),
    *(
        Claim(
            claim_id,
            *_SOURCES[claim_id],
            "exact law",
            partial(_bounded, bound=bound, largest_error=_LARGEST_ERROR.get(claim_id, np.inf)),
        )
        for claim_id, bound in GAUSSIAN_BOUNDS.items()
    ),
)
