"""Estimates from independent replications, with what chance allows them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from faqd_math._validation import Array


@dataclass(frozen=True)
class Estimate:
    """A value estimated from replications, normal about the true one with ``standard_error``."""

    value: float
    standard_error: float

    def half_width(self, false_alarm: float) -> float:
        """Distance from the true value that is exceeded with probability ``false_alarm``."""
        return float(stats.norm.isf(false_alarm / 2)) * self.standard_error

    def p_value(self, expected: float, slack: float = 0.0) -> float:
        """Probability of as large a distance from ``expected``, beyond ``slack`` of rounding."""
        excess = abs(self.value - expected) - slack
        if excess <= 0:
            return 1.0
        if self.standard_error == 0 or np.isnan(excess):
            return 0.0
        return float(2 * stats.norm.sf(excess / self.standard_error))


def mean_estimate(samples: Array) -> Estimate:
    """Estimate the mean from samples (n,), by the central limit theorem: use 2,000 or more."""
    error = samples.std(ddof=1) / np.sqrt(len(samples))
    return Estimate(float(samples.mean()), float(error))


def variance_estimate(samples: Array) -> Estimate:
    """Estimate the variance from samples (n,), as `mean_estimate`.

    The standard error of s² is √((m₄ − s⁴(n−3)/(n−1))/n), with the fourth central moment m₄
    taken from the samples.
    """
    n = len(samples)
    variance = float(samples.var(ddof=1))
    fourth_moment = float(((samples - samples.mean()) ** 4).mean())
    error = np.sqrt(max(fourth_moment - variance**2 * (n - 3) / (n - 1), 0.0) / n)
    return Estimate(variance, float(error))
