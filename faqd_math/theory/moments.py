"""Moments of FFA's order-2 value and of its gradient: P1–P8, and P12 (§3).

T = ‖AZ‖_F²/k estimates μ = ‖A‖_F². Functions of a spectrum take one sample's eigenvalues (r,)
of the gap; functions of feature maps (C, H, W) return a float, and of batches (B, C, H, W) one
value per sample, (B,). Nothing here holds an N×N matrix. Bad input raises TypeError or ValueError,
as in `faqd_math.fa_loss`; so do eigenvalues above 2⁵³, whose powers could overflow: those of a gap
are at most N.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from faqd_math._validation import (
    Array,
    check_count,
    check_features,
    check_number,
    check_spectrum,
    reduce_samples,
)
from faqd_math.features import unit_pixel_pair, unit_pixels
from faqd_math.losses import apply_gap
from faqd_math.spectrum import effective_rank, squared_norm, triangular_factors

_BLOCK = 256  # rows of an N×N matrix held at a time
_MOST = 2**53  # pixels or channels: from here on a float does not tell n from n + 1


def mean(spectrum: Any) -> float:
    """P1: E T = μ = Σλ², for any isotropic probes (E zzᵀ = I). Hutchinson (1989).

    Examples
    --------
    >>> mean(np.array([2.0, -1.0]))
    5.0
    """
    return float((_eigenvalues(spectrum) ** 2).sum())


def variance(spectrum: Any, k: int) -> float:
    """P2: Var T = 2S₄/k with S₄ = Σλ⁴, for gaussian probes. Avron & Toledo (2011).

    The relative standard deviation is √(2/(kρ)), at most √(2/k).

    Examples
    --------
    >>> variance(np.array([2.0, -1.0]), 17)
    2.0
    """
    return 2 * float((_eigenvalues(spectrum) ** 4).sum()) / check_count(k, "k")


def rademacher_variance(student: Any, teacher: Any, k: int) -> Any:
    """P3: Var T = (2/k)(S₄ − Σ_i (A²)_ii²) for Rademacher probes. Hutchinson (1989).

    Never above P2, the variance for gaussian probes.

    Examples
    --------
    The gap of two pixels, once parallel and once orthogonal, is a swap; ±1 probes see it exactly:

    >>> parallel, orthogonal = np.ones((1, 1, 2)), np.eye(2).reshape(2, 1, 2)
    >>> round(rademacher_variance(parallel, orthogonal, 15), 12)
    0.0
    """
    x, y, _ = unit_pixel_pair(student, teacher)
    k = check_count(k, "k")
    u = gap_factor(x, y)
    fourth = squared_norm(u @ u.mT)
    diagonal = ((u**2).sum(axis=-2) ** 2).sum(axis=-1)
    # The difference is a sum of squares; rounding must not make it negative.
    values = 2 / k * np.maximum(fourth - diagonal, 0.0)
    return reduce_samples(values, "none", single=np.ndim(student) == 3)


def sphere_variance(spectrum: Any, k: int, n: int) -> float:
    """P4: Var T = 2(N S₄ − μ²)/(k(N+2)) for probes on the sphere of radius √N, N pixels.

    Examples
    --------
    A multiple of the identity is seen exactly:

    >>> sphere_variance(np.ones(3), 15, 3)
    0.0
    """
    squares = _eigenvalues(spectrum) ** 2
    k, n = check_count(k, "k"), check_count(n, "n")
    if n < np.count_nonzero(squares):
        raise ValueError(
            f"n is {n}, but the spectrum has {np.count_nonzero(squares)} non-zero eigenvalues; "
            f"a gap of n pixels has at most n: pass n = H·W of the student's map."
        )
    difference = max(n * (squares**2).sum() - squares.sum() ** 2, 0.0)
    return float(2 * difference / (k * (n + 2)))


def third_cumulant(spectrum: Any, k: int) -> float:
    """P5: the third cumulant of T is 8Σλ⁶/k², for gaussian probes.

    Examples
    --------
    >>> third_cumulant(np.array([1.0, -1.0]), 4)
    1.0
    """
    return 8 * float((_eigenvalues(spectrum) ** 6).sum()) / check_count(k, "k") ** 2


def shared_probes_variance(student: Any, teacher: Any, k: int) -> float:
    """P6: Var Σ_b T_b = (2/k)‖Σ_b A_b²‖_F² for one gaussian probe matrix shared by the batch.

    At most batch-size times `independent_probes_variance`.

    Examples
    --------
    Two equal samples: sharing doubles the variance of their sum.

    >>> rng = np.random.default_rng(0)
    >>> student, teacher = rng.standard_normal((2, 1, 3, 4, 4)).repeat(2, axis=1)
    >>> independent = independent_probes_variance(student, teacher, 15)
    >>> round(shared_probes_variance(student, teacher, 15) / independent, 12)
    2.0
    """
    x, y, _ = unit_pixel_pair(student, teacher)
    u = gap_factor(x, y)
    # ‖Σ_b A_b²‖² = Σ_bc ‖U_b U_cᵀ‖²
    return 2 * sum(float(squared_norm(ub @ u.mT).sum()) for ub in u) / check_count(k, "k")


def independent_probes_variance(student: Any, teacher: Any, k: int) -> float:
    """P6: Var Σ_b T_b = (2/k)Σ_b‖A_b²‖_F² for independent gaussian probes for each sample."""
    x, y, _ = unit_pixel_pair(student, teacher)
    u = gap_factor(x, y)
    return 2 * float(squared_norm(u @ u.mT).sum()) / check_count(k, "k")


def root_mean(spectrum: Any, k: int) -> float:
    """P7: E√T ≈ √μ(1 − 1/(4kρ)), by the delta method: the root is biased low.

    The next term is of relative order S₆/(k²μ³) with S₆ = Σλ⁶. That is at least (kρ)⁻², and may be
    much larger: for one large eigenvalue above many small ones.

    Examples
    --------
    >>> root_mean(np.array([2.0]), 5)
    1.9
    """
    k, rho = check_count(k, "k"), effective_rank(spectrum)
    return float(np.sqrt(mean(spectrum)) * (1 - 1 / (4 * k * rho))) if rho else 0.0


def gradient_noise(student: Any, teacher: Any, k: int) -> Any:
    """P8: E‖Ĝ − G‖_F² = (4/(kN⁴))[(N+4) tr(SA²) + tr(S) μ + 2 tr(AS) tr(A)], gaussian probes.

    G = ∂L/∂X is the gradient of FA of order 2 with respect to the student's unit pixels X
    (before it is projected and divided by the pixel norms), Ĝ its unbiased FFA estimate, S and A
    the student's affinity and the gap. The reference ‖G‖_F² is `gradient_squared_norm`, and
    E‖Ĝ‖_F² is the sum of both. Against it the noise grows with N: like √(N/(4k)), relative.

    Examples
    --------
    >>> student, teacher = np.random.default_rng(0).standard_normal((2, 8, 16, 16))
    >>> relative = gradient_noise(student, teacher, 15) / gradient_squared_norm(student, teacher)
    >>> round(relative**0.5, 1), round((256 / (4 * 15)) ** 0.5, 1)
    (2.1, 2.1)
    """
    x, y, _ = unit_pixel_pair(student, teacher)
    k, n = check_count(k, "k"), x.shape[-1]
    xa = apply_gap(x, y, x.mT).mT
    trace_s = (x**2).sum(axis=(-2, -1))
    trace_a = trace_s - (y**2).sum(axis=(-2, -1))
    trace_as = (xa * x).sum(axis=(-2, -1))
    mu = (gap_factor(x, y) ** 2).sum(axis=(-2, -1))
    bracket = (n + 4) * squared_norm(xa) + trace_s * mu + 2 * trace_as * trace_a
    return reduce_samples(4 * bracket / (k * n**4), "none", single=np.ndim(student) == 3)


def gradient_squared_norm(student: Any, teacher: Any) -> Any:
    """P8's reference: ‖G‖_F² = (16/N⁴) tr(SA²), with respect to the student's unit pixels X."""
    x, y, _ = unit_pixel_pair(student, teacher)
    values = 16 * squared_norm(apply_gap(x, y, x.mT)) / x.shape[-1] ** 4
    return reduce_samples(values, "none", single=np.ndim(student) == 3)


def projected_loss(teacher: Any, channels: int) -> Any:
    """P12: E L ≈ (1/C_s) mean_ij (1 − S_ij²)² for a random gaussian map to C_s channels.

    The student is the teacher's map sent through a C_s×C_t gaussian matrix and renormalised. The
    delta method leaves it low, by at most (q − 1) times the mean S_ij² weighted by (1 − S_ij²)²,
    q = (1 − 1/(4C_s))/((1 − 2/C_s)(1 − 4/C_s)): 14 % at C_s = 8 and 7 % at 16 on gaussian maps.
    Pairs with a dead pixel agree and count as 0. Since some map is no worse than the mean, a 1×1
    convolution exists whose FA is at most about that: the Johnson–Lindenstrauss argument made
    quantitative. O(N²C_t) work, in blocks of rows.

    Examples
    --------
    >>> projected_loss(np.eye(2).reshape(2, 1, 2), 16)
    0.03125
    """
    y, _ = unit_pixels(check_features(teacher, "teacher"))
    channels, n = check_count(channels, "channels"), y.shape[-1]
    alive = np.any(y != 0, axis=-2)
    total = np.zeros(len(y))
    for rows in row_blocks(n):
        squares = (y[..., rows].mT @ y) ** 2
        pairs = alive[:, rows, np.newaxis] & alive[:, np.newaxis]
        total += ((1 - squares) ** 2 * pairs).sum(axis=(-2, -1))
    return reduce_samples(total / (channels * n**2), "none", single=np.ndim(teacher) == 3)


def channels_needed(teacher: Any, loss: float) -> int:
    """P12: student channels from which a random gaussian map has E L ≤ ``loss``, approximately.

    For a batch, the mean over its samples.

    Examples
    --------
    >>> channels_needed(np.eye(2).reshape(2, 1, 2), 0.03)
    17
    """
    loss = check_number(loss, "loss", above=0, hint="pass the FA of order 2 to allow, such as 0.01")
    one_channel = float(np.mean(projected_loss(teacher, 1)))
    if one_channel > loss * _MOST:
        raise ValueError(
            f"loss is {loss}, for which 2**53 channels are too few; a loss that fewer reach is "
            f"accepted: raise it."
        )
    return max(1, int(np.ceil(one_channel / loss)))


def gap_factor(x: Array, y: Array) -> Array:
    """Return U of shape (B, min(N, C_s+C_t), N) with A² = UᵀU: its columns are as long as A's.

    With W = [X; Y], Wᵀ = QR and J = diag(I, −I): A² = WᵀJ(WWᵀ)JW and WWᵀ = RᵀR, so U = RJW.

    Parameters
    ----------
    x, y : array (B, C_s, N) and (B, C_t, N)
        Unit pixel vectors of student and teacher.
    """
    r_student, r_teacher = triangular_factors(x, y)
    return r_student @ x - r_teacher @ y


def row_blocks(n: int) -> Iterator[slice]:
    """Split n rows into blocks that fit in memory beside N columns."""
    return (slice(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK))


def _eigenvalues(spectrum: Any) -> Array:
    """Return a spectrum whose sixth powers are far from overflow."""
    eigenvalues = check_spectrum(spectrum)
    largest = np.abs(eigenvalues).max(initial=0.0)
    if largest > _MOST:
        raise ValueError(
            f"spectrum holds an eigenvalue of size {largest:g}; those of a gap are at most its "
            f"number of pixels, and up to 2**53 is accepted: take it from gap_spectrum."
        )
    return eigenvalues
