"""FFA of order 1: what it estimates, and a fast estimate of what it does not (P9–P11, B11; §3).

L̂₁ = Σ_j‖A z_j‖₁/(kN²) with gaussian probes estimates √(2/π) times the (2,1)-norm of the gap over
N², not L₁ = Σ_ij|A_ij|/N². Cauchy probes are 1-stable and do see the rows' 1-norms.

``student`` and ``teacher`` are maps (C, H, W) or (B, C, H, W), as in `faqd_math.fa_loss`; of a
batch comes one value per sample, (B,). Bad input raises TypeError or ValueError, as there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from faqd_math._validation import (
    Array,
    check_choice,
    check_count,
    check_number,
    check_probes,
    check_rng,
    check_spectrum,
    reduce_samples,
)
from faqd_math.features import unit_pixel_pair
from faqd_math.losses import Reduction, apply_gap
from faqd_math.theory.law import Tail
from faqd_math.theory.moments import gap_factor, row_blocks


def ffa_mean(student: Any, teacher: Any) -> Any:
    """P9: E L̂₁ = √(2/π) Σ_i‖a_i‖₂/N², with a_i the rows of A (gaussian probes).

    Examples
    --------
    >>> parallel, orthogonal = np.ones((1, 1, 2)), np.eye(2).reshape(2, 1, 2)
    >>> round(ffa_mean(parallel, orthogonal) * (np.pi / 2) ** 0.5, 12)
    0.5
    """
    x, y, _ = unit_pixel_pair(student, teacher)
    norms = np.linalg.norm(gap_factor(x, y), axis=-2)
    values = np.sqrt(2 / np.pi) * norms.sum(axis=-1) / x.shape[-1] ** 2
    return reduce_samples(values, "none", single=np.ndim(student) == 3)


def ffa_variance(student: Any, teacher: Any, k: int) -> Any:
    """P10: Var L̂₁ = (2/(πkN⁴)) Σ_ij ‖a_i‖‖a_j‖(√(1−c²) + c·asin c − 1), c = cos∠(a_i, a_j).

    For k gaussian probes. The relative variance is at most (π/2 − 1)/k. O(N²(C_s+C_t)) work; the
    N×N cosines are formed a block of rows at a time.

    Examples
    --------
    Rows that are all parallel reach the bound:

    >>> one, other = np.ones((1, 1, 4)), np.array([1.0, -1, 1, -1]).reshape(1, 1, 4)
    >>> dead = np.zeros((1, 1, 4))
    >>> bound = (np.pi / 2 - 1) / 15
    >>> round(ffa_variance(one, dead, 15) / ffa_mean(one, dead) ** 2 / bound, 12)
    1.0
    >>> round(ffa_variance(one, other, 15) / ffa_mean(one, other) ** 2 / bound, 12)
    0.5
    """
    x, y, _ = unit_pixel_pair(student, teacher)
    k, n = check_count(k, "k"), x.shape[-1]
    u = gap_factor(x, y)
    norms = np.linalg.norm(u, axis=-2)
    unit = np.divide(u, norms[:, np.newaxis], out=np.zeros_like(u), where=norms[:, np.newaxis] > 0)
    total = np.zeros(len(x))
    for rows in row_blocks(n):
        cosines = np.clip(unit[..., rows].mT @ unit, -1.0, 1.0)
        # √(1−c²) − 1, without cancellation at small c
        loss = -(cosines**2) / (1 + np.sqrt(1 - cosines**2))
        covariance = cosines * np.arcsin(cosines) + loss
        total += np.einsum("bi,bij,bj->b", norms[:, rows], covariance, norms)
    values = 2 * total / (np.pi * k * n**4)
    return reduce_samples(values, "none", single=np.ndim(student) == 3)


def concentration_bound(
    spectrum: Any, n: int, k: int, deviation: float, *, tail: Tail = "both"
) -> float:
    """B11: P(|L̂₁ − E L̂₁| ≥ t) ≤ 2exp(−k N³t²/(2‖A‖₂²)), half that for each side.

    ‖Az‖₁ has Lipschitz constant max_{‖z‖₂=1}‖Az‖₁ ≤ √N‖A‖₂; gaussian concentration does the rest.

    Parameters
    ----------
    spectrum : array (r,)
        Eigenvalues of the gap.
    n, k : int
        Pixels N and gaussian probes.
    deviation : float
        t, above 0, in the units of L̂₁.
    tail : {"both", "upper", "lower"}
        The sides.

    Returns
    -------
    float
        Not clipped at 1; 0 for a zero gap.

    Examples
    --------
    >>> round(concentration_bound(np.array([8.0, -8.0]), 16, 15, 0.1), 3)
    0.016
    """
    eigenvalues = check_spectrum(spectrum)
    n, k = check_count(n, "n"), check_count(k, "k")
    hint = "pass the absolute error of L̂₁"
    deviation = check_number(deviation, "deviation", above=0, hint=hint)
    check_choice(tail, "tail", ("both", "upper", "lower"))
    norm = np.abs(eigenvalues).max(initial=0.0)
    if not norm:
        return 0.0
    side = np.exp(-0.5 * k * n**3 * (deviation / norm) ** 2)
    return float(2 * side if tail == "both" else side)


def sample_cauchy_probes(
    n: int, k: int, *, rng: np.random.Generator, batch: int | None = None
) -> Array:
    """Draw standard Cauchy probes for `fa_order_one_estimate` (P11).

    (n, k) for the n pixels of the student's map, or (batch, n, k) independent ones; k is at least
    3. ``rng`` is the caller's generator.

    Examples
    --------
    >>> sample_cauchy_probes(16, 5, rng=np.random.default_rng(0)).shape
    (16, 5)
    """
    n, k = check_count(n, "n"), check_count(k, "k", at_least=3)
    leading: tuple[int, ...] = () if batch is None else (check_count(batch, "batch"),)
    return check_rng(rng).standard_cauchy((*leading, n, k))


def fa_order_one_estimate(
    student: Any, teacher: Any, cauchy_probes: Any, *, reduction: Reduction = "mean"
) -> Any:
    """P11: unbiased fast estimate of FA of order 1, L₁ = Σ_ij|A_ij|/N², from Cauchy probes.

    a_iᵀc is ‖a_i‖₁ times a standard Cauchy variable, so each row's 1-norm is estimated by the
    geometric mean over the probes, cos^k(π/(2k)) ∏_j |a_iᵀc_j|^{1/k}: Li, Hastie & Church, arXiv
    cs/0610155. The rows share the probes, so the relative variance of the whole is at most that of
    one row, `row_relative_variance`. No N×N matrix; O(NkC), as FFA.

    Parameters
    ----------
    cauchy_probes : array (N, k) or (B, N, k)
        From `sample_cauchy_probes`; k at least 3, from where on the variance is finite.
    reduction : {"mean", "sum", "none"}
        Over the samples of a batch.

    Examples
    --------
    >>> from faqd_math import fa_loss
    >>> rng = np.random.default_rng(0)
    >>> student, teacher = rng.standard_normal((2, 3, 4, 4))
    >>> probes = sample_cauchy_probes(16, 4000, rng=rng)
    >>> ratio = fa_order_one_estimate(student, teacher, probes) / fa_loss(student, teacher, order=1)
    >>> bool(abs(ratio - 1) < 5 * row_relative_variance(4000) ** 0.5)
    True
    """
    check_choice(reduction, "reduction", ("mean", "sum", "none"))
    x, y, _ = unit_pixel_pair(student, teacher)
    probes = check_probes(cauchy_probes, n=x.shape[-1], batch=len(x))
    k = check_count(probes.shape[-1], "the number of cauchy_probes", at_least=3)
    magnitudes = np.abs(apply_gap(x, y, probes))
    # A row of zeros, as of a pixel dead in both maps, stays 0.
    logs = np.log(magnitudes, out=np.full_like(magnitudes, -np.inf), where=magnitudes > 0)
    rows = np.cos(np.pi / (2 * k)) ** k * np.exp(logs.mean(axis=-1))
    values = rows.sum(axis=-1) / x.shape[-1] ** 2
    return reduce_samples(values, reduction, single=np.ndim(student) == 3)


def row_relative_variance(k: int) -> float:
    """P11: relative variance of one row's estimate, cos^{2k}(π/(2k))/cos^k(π/k) − 1, k ≥ 3.

    About π²/(4k) for large k.

    Examples
    --------
    >>> round(row_relative_variance(15), 3)
    0.181
    """
    k = check_count(k, "k", at_least=3)
    return float(np.cos(np.pi / (2 * k)) ** (2 * k) / np.cos(np.pi / k) ** k - 1)
