"""Evidence from replications: a p-value, an allowance, and what deviation would be found."""

from __future__ import annotations

from scipy import stats

from faqd_math.claims.evidence import Evidence, Sampling
from faqd_math.confidence import Estimate

# Of a relative value, from sums of up to some 10⁶ terms: what rounding adds to chance.
ROUNDING = 1e-11
# Standard errors beyond the allowance at which a deviation is found with probability 0.9.
_POWER = float(stats.norm.ppf(0.9))


def estimate_is(
    estimate: Estimate, expected: float, sampling: Sampling, slack: float = 0.0
) -> Evidence:
    """Compare an estimate with the value claimed; ``slack`` is what rounding explains."""
    allowance = estimate.half_width(sampling.false_alarm) + slack
    return Evidence(
        estimate.value,
        expected,
        "=",
        allowance,
        p_value=estimate.p_value(expected, slack),
        detectable=allowance + _POWER * estimate.standard_error,
    )


def rate_is(hits: int, trials: int, probability: float, sampling: Sampling) -> Evidence:
    """Compare a share of replications with its probability, by exact binomial tails."""
    law = stats.binom(trials, probability)
    # The quantiles on both sides, of which the allowance is the farther.
    reach = law.isf(sampling.false_alarm / 2) / trials - probability
    fall = probability - law.ppf(sampling.false_alarm / 2) / trials
    allowance = float(max(reach, fall))
    return Evidence(
        hits / trials,
        probability,
        "=",
        allowance,
        p_value=float(min(1.0, 2 * min(law.sf(hits - 1), law.cdf(hits)))),
        detectable=allowance + _POWER * float(law.std()) / trials,
    )


def rate_is_at_most(hits: int, trials: int, bound: float, sampling: Sampling) -> Evidence:
    """Compare a share of replications with a bound on its probability, likewise."""
    law = stats.binom(trials, min(bound, 1.0))
    allowance = max(float(law.isf(sampling.false_alarm)) / trials - bound, 0.0)
    return Evidence(
        hits / trials,
        bound,
        "<=",
        allowance,
        p_value=float(law.sf(hits - 1)),
        detectable=allowance + _POWER * float(law.std()) / trials,
    )
