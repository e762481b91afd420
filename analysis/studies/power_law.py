"""Exponents of power laws, fitted to repeated measurements, with intervals free of any noise model.

Each round of measurements gives its own least-squares slope on log-log axes. Of these slopes,
independent and alike, the median is the estimate: some rounds that another process slowed down do
not move it, and order statistics bound it with a coverage that holds for every law of the noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import quantile_test

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Exponent:
    """The b of y ∝ xᵇ, and how well a power law fits.

    Attributes
    ----------
    value, low, high : float
        Median of the rounds' slopes, and its confidence interval of at least 95 %. It covers
        noise alone: what is not a power law has another slope on another range of sizes.
    misfit : float
        Largest factor between the median measurements and their fitted power law.
    """

    value: float
    low: float
    high: float
    misfit: float


def fit_exponent(sizes: Sequence[int], measurements: NDArray[np.float64]) -> Exponent:
    """Fit y ∝ xᵇ by least squares on log-log axes.

    Parameters
    ----------
    sizes : sequence of m integers, 2 or more
        The x.
    measurements : array (rounds, m)
        The y, positive: one row for each round.

    Raises
    ------
    ValueError
        If the measurements do not fit the sizes or are not positive, or if the rounds are fewer
        than 6, of which no interval has confidence 95 %.

    Examples
    --------
    >>> sizes = [64, 128, 256]
    >>> fit = fit_exponent(sizes, np.array([[float(n**2) for n in sizes]] * 6))
    >>> round(fit.value, 12)
    2.0
    """
    if measurements.shape[1:] != (len(sizes),) or len(sizes) < 2 or not (measurements > 0).all():
        raise ValueError(
            f"measurements have shape {measurements.shape} for {len(sizes)} sizes; positive rows, "
            f"one entry for each of 2 sizes or more, are accepted: measure each size in each round."
        )
    x = np.log(np.asarray(sizes, dtype=np.float64))
    x -= x.mean()
    slopes = np.log(measurements) @ x / (x @ x)
    interval = quantile_test(slopes, p=0.5).confidence_interval(CONFIDENCE)
    if np.isnan(interval.low):
        raise ValueError(
            f"{len(slopes)} rounds came, of which no interval has confidence {CONFIDENCE}; 6 or "
            f"more are accepted: measure more rounds."
        )
    medians = np.log(np.median(measurements, axis=0))
    fitted = medians.mean() + x * (medians @ x) / (x @ x)
    return Exponent(
        value=float(np.median(slopes)),
        low=float(interval.low),
        high=float(interval.high),
        misfit=float(np.exp(np.abs(medians - fitted).max())),
    )
