"""Feature maps and weights of known character, for `verify` where no others are given."""

from __future__ import annotations

import numpy as np

from faqd_math._validation import Array, check_rng


def standard_pairs(
    rng: np.random.Generator, *, channels: int = 8, side: int = 8, batch: int = 4
) -> dict[str, tuple[Array, Array]]:
    """Draw pairs of maps (batch, channels, side, side): easy ones, and those where care is due.

    random: gaussian maps. rectified: their positive parts, as after a ReLU. low rank: three
    latent channels. nearly equal: maps that differ by 1e-3. rank one gap: all student pixels
    parallel, all teacher pixels dead. dead pixels: a third of the student's pixels are zero.

    Examples
    --------
    >>> [pair[0].shape for pair in standard_pairs(np.random.default_rng(0)).values()]
    ... # doctest: +NORMALIZE_WHITESPACE
    [(4, 8, 8, 8), (4, 8, 8, 8), (4, 8, 8, 8), (4, 8, 8, 8), (4, 8, 8, 8), (4, 8, 8, 8)]
    """
    check_rng(rng)
    shape = (batch, channels, side, side)
    student, teacher = rng.standard_normal((2, *shape))
    mixing = rng.standard_normal((2, batch, channels, 3))
    latent = rng.standard_normal((2, batch, 3, side * side))
    low_student, low_teacher = (mixing @ latent).reshape(2, *shape)
    alive = rng.random((batch, 1, side, side)) > 1 / 3
    return {
        "random": (student, teacher),
        "rectified": (np.maximum(student, 0), np.maximum(teacher, 0)),
        "low rank": (low_student, low_teacher),
        "nearly equal": (student, student + 1e-3 * teacher),
        "rank one gap": (np.ones(shape), np.zeros(shape)),
        "dead pixels": (alive * student, teacher),
    }


def standard_weights(rng: np.random.Generator, *, count: int = 40) -> dict[str, Array]:
    """Draw layers of weights (count,): bell-shaped, heavy-tailed, with zeros, ties, one outlier.

    Examples
    --------
    >>> list(standard_weights(np.random.default_rng(0)))
    ['gaussian', 'heavy tails', 'sparse', 'ties', 'outlier']
    """
    check_rng(rng)
    gaussian = rng.standard_normal(count)
    return {
        "gaussian": 0.05 * gaussian,
        "heavy tails": rng.standard_t(2, count),
        "sparse": gaussian * (rng.random(count) < 1 / 3),
        "ties": np.round(2 * gaussian) / 2,
        "outlier": np.concatenate([0.01 * gaussian[1:], [3.0]]),
    }
