"""Exponents of power laws, fitted to repeated measurements, with intervals free of any noise model.

Each round of measurements gives its own least-squares slope on log-log axes. Of these slopes,
independent and alike, the median is the estimate: some rounds that another process slowed down do
not move it, and order statistics bound it with a coverage that is exact for every law of the noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Exponent:
    """The b of y ∝ xᵇ, and how well a power law fits.

    Attributes
    ----------
    value, low, high : float
        Median of the rounds' slopes, and its confidence interval. The interval tells of noise:
        what is no power law has another slope on another range of sizes.
    confidence : float
        Exact probability that the interval holds the median slope, over rounds with noise of any
        continuous law.
    misfit : float
        Largest factor between the median measurements and their fitted power law.
    """

    value: float
    low: float
    high: float
    confidence: float
    misfit: float


def fit_exponent(
    sizes: Sequence[int], measurements: Array, *, confidence: float = 0.95
) -> Exponent:
    """Fit y ∝ xᵇ by least squares on log-log axes.

    Parameters
    ----------
    sizes : sequence of m integers, 2 or more
        The x.
    measurements : array (rounds, m)
        The y, positive: one row for each round.
    confidence : float
        At least this is reached, by the narrowest symmetric pair of order statistics.

    Raises
    ------
    ValueError
        If the measurements do not fit the sizes or are not positive, or if the rounds are too few
        for the confidence: 6 for 95 %.

    Examples
    --------
    >>> sizes = [64, 128, 256]
    >>> fit = fit_exponent(sizes, np.array([[float(n**2) for n in sizes]] * 6))
    >>> round(fit.value, 12), fit.confidence
    (2.0, 0.96875)
    """
    if measurements.shape[1:] != (len(sizes),) or len(sizes) < 2 or not (measurements > 0).all():
        raise ValueError(
            f"measurements have shape {measurements.shape} for {len(sizes)} sizes; positive rows, "
            f"one entry for each of 2 sizes or more, are accepted: measure each size in each round."
        )
    rank = _order_statistic(len(measurements), confidence)
    x = np.log(np.asarray(sizes, dtype=np.float64))
    x -= x.mean()
    slopes = np.sort(np.log(measurements) @ x / (x @ x))
    medians = np.log(np.median(measurements, axis=0))
    fitted = medians.mean() + x * (medians @ x) / (x @ x)
    return Exponent(
        value=float(np.median(slopes)),
        low=float(slopes[rank]),
        high=float(slopes[-1 - rank]),
        confidence=_coverage(len(slopes), rank),
        misfit=float(np.exp(np.abs(medians - fitted).max())),
    )


def _coverage(rounds: int, rank: int) -> float:
    """P that the median lies between the order statistics of this rank from both ends.

    It lies outside where ``rank`` slopes or fewer are on one side of it.
    """
    return float(1 - 2 * bdtr(rank, rounds, 0.5))


def _order_statistic(rounds: int, confidence: float) -> int:
    """Highest rank, from 0, whose interval still covers the median with this confidence."""
    ranks = [r for r in range(rounds // 2) if _coverage(rounds, r) >= confidence]
    if not ranks:
        raise ValueError(
            f"{rounds} rounds came, of which no interval has confidence {confidence}; 6 rounds or "
            f"more are accepted for 0.95: measure more rounds."
        )
    return ranks[-1]
