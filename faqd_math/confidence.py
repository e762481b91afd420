"""Estimates from independent replications, with the half-width that chance allows them."""

from __future__ import annotations

import numpy as np
from scipy import stats

from faqd_math._validation import Array


def mean_estimate(samples: Array, false_alarm: float) -> tuple[float, float]:
    """Return the mean of samples (n,) and its two-sided half-width.

    By the central limit theorem: use 2,000 samples or more. The true mean lies farther away with
    probability ``false_alarm``.
    """
    error = samples.std(ddof=1) / np.sqrt(len(samples))
    return float(samples.mean()), _half_width(float(error), false_alarm)


def variance_estimate(samples: Array, false_alarm: float) -> tuple[float, float]:
    """Return the variance of samples (n,) and its two-sided half-width, as `mean_estimate`.

    The standard error of s² is √((m₄ − s⁴(n−3)/(n−1))/n), with the fourth central moment m₄
    taken from the samples.
    """
    n = len(samples)
    variance = float(samples.var(ddof=1))
    fourth_moment = float(((samples - samples.mean()) ** 4).mean())
    error = np.sqrt(max(fourth_moment - variance**2 * (n - 3) / (n - 1), 0.0) / n)
    return variance, _half_width(float(error), false_alarm)


def _half_width(standard_error: float, false_alarm: float) -> float:
    return float(stats.norm.isf(false_alarm / 2)) * standard_error
