"""Eigenvalues of the affinity gap from a (C_s+C_t)-sized problem, and its ranks (§1)."""

from __future__ import annotations

from typing import Any

import numpy as np

from faqd_math._validation import Array, check_spectrum
from faqd_math.features import unit_pixel_pair


def small_gap(x: Array, y: Array) -> Array:
    """Return R J Rᵀ, symmetric of size min(N, C_s+C_t), with the gap's non-zero eigenvalues.

    With W = [X; Y], Wᵀ = QR and J = diag(I, −I): A = WᵀJW = Q (R J Rᵀ) Qᵀ. Its entries are
    differences of first, not second, powers of cosines, so that it keeps the accuracy that the
    Gram identity loses when student and teacher agree (§5).

    Parameters
    ----------
    x, y : array (B, C_s, N) and (B, C_t, N)
        Unit pixel vectors of student and teacher.
    """
    r_student, r_teacher = triangular_factors(x, y)
    return r_student @ r_student.mT - r_teacher @ r_teacher.mT


def triangular_factors(x: Array, y: Array) -> tuple[Array, Array]:
    """Split R of [X; Y]ᵀ = QR into the student's and the teacher's columns, C_s and C_t of them."""
    r = np.asarray(np.linalg.qr(np.concatenate([x, y], axis=1).mT, mode="r"))
    return r[..., : x.shape[1]], r[..., x.shape[1] :]


def squared_norm(matrices: Array) -> Array:
    """‖·‖_F² over the last two axes."""
    return (matrices**2).sum(axis=(-2, -1))


def gap_spectrum(student: Any, teacher: Any) -> Array:
    """Eigenvalues of the affinity gap A = S_student − S_teacher (§1, I5, I6).

    Parameters
    ----------
    student, teacher : array (C, H, W) or (B, C, H, W)
        As in `faqd_math.fa_loss`, which says what is refused.

    Returns
    -------
    array (r,) or (B, r), float64
        r = min(N, C_s + C_t) eigenvalues by decreasing magnitude; all others of the N are 0.

    Examples
    --------
    The affinities of two pixels, once parallel and once orthogonal, differ by ±1:

    >>> parallel, orthogonal = np.ones((1, 1, 2)), np.eye(2).reshape(2, 1, 2)
    >>> gap_spectrum(parallel, orthogonal).round(12)
    array([ 1., -1.])
    """
    x, y, _ = unit_pixel_pair(student, teacher)
    eigenvalues = np.linalg.eigvalsh(small_gap(x, y))
    # Stable on the reversed (descending) values: of ±λ the positive one comes first.
    eigenvalues = eigenvalues[..., ::-1]
    order = np.argsort(-np.abs(eigenvalues), axis=-1, kind="stable")
    eigenvalues = np.take_along_axis(eigenvalues, order, axis=-1)
    return eigenvalues if np.ndim(student) == 4 else eigenvalues[0]


def effective_rank(spectrum: Any) -> float:
    """ρ = (Σλ²)²/Σλ⁴, between 1 and the rank; 0 for a zero gap (§1).

    Examples
    --------
    >>> effective_rank(np.array([2.0, -2.0, 2.0]))
    3.0
    """
    squares = relative_squares(spectrum)
    return float(squares.sum() ** 2 / (squares**2).sum()) if squares.size else 0.0


def stable_rank(spectrum: Any) -> float:
    """r∞ = ‖A‖_F²/‖A‖₂² = Σλ²/max λ², at most ρ; 0 for a zero gap (§1).

    Examples
    --------
    >>> stable_rank(np.array([2.0, -1.0]))
    1.25
    """
    squares = relative_squares(spectrum)
    return float(squares.sum()) if squares.size else 0.0


def relative_squares(spectrum: Any) -> Array:
    """λ²/max λ², free of overflow and underflow; empty where all are zero."""
    magnitudes = np.abs(check_spectrum(spectrum))
    peak = magnitudes.max(initial=0.0)
    return (magnitudes / peak) ** 2 if peak > 0 else np.empty(0)


def is_rounding(spectrum: Array, n: int, channels: int) -> bool:
    """Tell whether a gap's spectrum is explained by rounding: some (N + 2C)u per entry.

    Parameters
    ----------
    spectrum : array (r,)
        From `gap_spectrum`.
    n, channels : int
        Pixels N, and the channels C of both maps together.
    """
    rounding = 64 * (n + 2 * channels) * float(np.finfo(np.float64).eps)
    return bool(np.linalg.norm(spectrum) / n <= rounding)
