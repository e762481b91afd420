"""Tests of what holds in probability: many replications, a stated false-alarm rate.

A true statement fails one of these tests with probability ``false_alarm``, to the accuracy of the
central limit theorem for means and variances (use 2,000 replications or more) and exactly for
rates.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from faqd_math._validation import Array
from faqd_math.confidence import Estimate, mean_estimate, variance_estimate


def assert_mean(
    samples: Array,
    expected: float,
    *,
    false_alarm: float = 1e-6,
    rounding: float = 0.0,
    what: str = "the mean over replications",
) -> None:
    """Assert that independent samples (n,), each off by ``rounding``, have the expected mean."""
    _assert_estimate(what, mean_estimate(samples), expected, false_alarm, rounding)


def assert_variance(samples: Array, expected: float, *, false_alarm: float = 1e-6) -> None:
    """Assert that independent samples (n,) have the expected variance."""
    what = "the variance over replications"
    _assert_estimate(what, variance_estimate(samples), expected, false_alarm, 0.0)


def assert_rate_at_most(hits: int, trials: int, bound: float, *, false_alarm: float = 1e-6) -> None:
    """Assert that an event's probability is at most ``bound`` (exact binomial test)."""
    p_value = stats.binomtest(int(hits), trials, min(bound, 1.0), alternative="greater").pvalue
    if p_value < false_alarm:
        raise AssertionError(
            f"{hits} of {trials} replications, a rate of {hits / trials:.3g}, exceed the bound "
            f"{bound:.3g}: p = {p_value:.1e}, below the false-alarm rate {false_alarm:.0e}."
        )


def _assert_estimate(
    what: str, estimate: Estimate, expected: float, false_alarm: float, rounding: float
) -> None:
    # A few units of rounding: samples may be equal, and then their spread is rounding only.
    rounding += 64 * float(np.finfo(float).eps) * abs(expected)
    limit = estimate.half_width(false_alarm) + rounding
    if not abs(estimate.value - expected) <= limit:
        raise AssertionError(
            f"{what} is {estimate.value:.6g}, expected {expected:.6g}: off by "
            f"{abs(estimate.value - expected):.2g}, where {limit:.2g} is allowed at a false-alarm "
            f"rate of {false_alarm:.0e}."
        )
