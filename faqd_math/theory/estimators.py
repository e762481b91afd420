"""Unbiased estimates of FA of order 2 beside FFA: sampled pixels, and probes adapted to the gap.

At FFA's cost, 2Nk(C_s+C_t) multiply-adds, one has time for the affinities of √(2Nk) sampled
pixels, or for a Gram loss of more (`pixels_at_cost`). On maps of trained networks the affinity gap
is spread over many pixels but over few eigenvalues, so that sampling pixels errs several times
less than probing, in value and gradient; `sampled_variance` says by how much. A gap that sits at a
few pixels turns this round: no bound holds for all maps, as one does for FFA.

``student`` and ``teacher`` are maps (C, H, W) or (B, C, H, W), as in `faqd_math.fa_loss`; bad
input raises TypeError or ValueError, as there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from faqd_math._validation import Array, check_choice, check_count, check_rng, reduce_samples
from faqd_math.cost import multiply_adds
from faqd_math.features import unit_pixel_pair
from faqd_math.losses import Reduction, apply_gap
from faqd_math.spectrum import squared_norm
from faqd_math.theory.moments import row_blocks

Indices = NDArray[np.intp]


def sample_pixels(n: int, m: int, *, rng: np.random.Generator, batch: int | None = None) -> Indices:
    """Draw m of n pixels without replacement, uniformly: (m,), or (batch, m) independent draws.

    Examples
    --------
    >>> sorted(sample_pixels(3, 3, rng=np.random.default_rng(0)).tolist())
    [0, 1, 2]
    """
    check_rng(rng)
    n = check_count(n, "n")
    m = check_count(m, "m", at_least=2)
    if m > n:
        raise ValueError(f"m is {m}, of n = {n} pixels; 2 to n is accepted: lower it.")
    draws = 1 if batch is None else check_count(batch, "batch")
    pixels = rng.random((draws, n)).argpartition(m - 1, axis=1)[:, :m]
    return pixels[0] if batch is None else pixels


def sampled_fa_loss(
    student: Any, teacher: Any, pixels: Any, *, reduction: Reduction = "mean"
) -> Any:
    """Estimate FA of order 2 from the affinities of some pixels (E1).

    (N(N−1)/(m(m−1)) Σ_{i≠j} A_ij² + (N/m) Σ_i A_ii²)/N² over the m pixels given: unbiased for
    uniform pixels without replacement, and exact for all N of them.

    Parameters
    ----------
    pixels : array (m,) or (B, m) of distinct integers
        From `sample_pixels`, counted along the rows of the student's map; shared by the batch or
        one draw per sample.
    reduction : {"mean", "sum", "none"}
        Over the samples of a batch.

    Returns
    -------
    float, or array (B,) with reduction "none" on a batch

    Examples
    --------
    >>> student, teacher = np.ones((1, 1, 3)), np.array([[[1.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]]])
    >>> [round(sampled_fa_loss(student, teacher, some), 3) for some in ([0, 1], [1, 2], [0, 1, 2])]
    [0.0, 0.667, 0.444]
    """
    check_choice(reduction, "reduction", ("mean", "sum", "none"))
    x, y, _ = unit_pixel_pair(student, teacher)
    n = x.shape[-1]
    chosen = _check_pixels(pixels, n, len(x))
    m = chosen.shape[-1]
    gap = _sampled_gap(x, y, chosen)[1]
    own = (np.diagonal(gap, axis1=-2, axis2=-1) ** 2).sum(axis=-1)
    pairs = squared_norm(gap) - own
    values = (n * (n - 1) / (m * (m - 1)) * pairs + n / m * own) / n**2
    return reduce_samples(values, reduction, single=np.ndim(student) == 3)


def unit_sampled_gradient(x: Array, y: Array, pixels: Indices) -> Array:
    """Gradient (B, C_s, N) of `sampled_fa_loss` by the student's unit pixels X.

    0 at pixels that were not sampled; the diagonal's part is radial and left out, as the
    projection of I8 removes it.
    """
    n, m = x.shape[-1], pixels.shape[-1]
    xs, gap = _sampled_gap(x, y, pixels)
    gap *= 1 - np.eye(m)
    gradient = np.zeros_like(x)
    slope = 4 * (n - 1) / (n * m * (m - 1)) * (xs @ gap)
    np.put_along_axis(gradient, pixels[:, np.newaxis], slope, axis=-1)
    return gradient


def _sampled_gap(x: Array, y: Array, pixels: Indices) -> tuple[Array, Array]:
    """Return the student's unit pixels (B, C_s, m) of a draw (B, m), and the gap (B, m, m)."""
    xs = np.take_along_axis(x, pixels[:, np.newaxis], axis=-1)
    ys = np.take_along_axis(y, pixels[:, np.newaxis], axis=-1)
    return xs, xs.mT @ xs - ys.mT @ ys


def sampled_variance(student: Any, teacher: Any, m: int) -> float:
    """E1: variance of N² times `sampled_fa_loss`, for m uniform pixels without replacement.

    The estimate is P + D, with P = Σ h_ij/p₂ over sampled pairs i ≠ j, D = Σ g_i/p₁ over sampled
    pixels, h_ij = A_ij², g_i = A_ii², and p_j = m(m−1)…/(N(N−1)…) the chance that j given pixels
    are all drawn. With row sums r and totals μ' = Σh, γ = Σg:

    - Var P = (2p₂Σh² + 4p₃(Σr² − Σh²) + p₄(μ'² − 4Σr² + 2Σh²))/p₂² − μ'²,
    - Var D = (p₁Σg² + p₂(γ² − Σg²))/p₁² − γ²,
    - Cov = (2p₂Σrg + p₃(μ'γ − 2Σrg))/(p₁p₂) − μ'γ.

    O(N²C) work in blocks of rows.

    Parameters
    ----------
    student, teacher : array (C, H, W)
        One sample's maps, of four pixels or more.
    m : int
        Pixels drawn, 2 to N.

    Examples
    --------
    All pixels leave no variance:

    >>> student, teacher = np.random.default_rng(0).standard_normal((2, 3, 4, 4))
    >>> abs(sampled_variance(student, teacher, 16)) < 1e-9
    True
    """
    x, y, _ = unit_pixel_pair(student, teacher)
    n, m = x.shape[-1], check_count(m, "m", at_least=2)
    if np.ndim(student) != 3 or n < 4 or m > n:
        raise ValueError(
            f"student has shape {np.shape(student)} and m is {m}; one sample's map (C, H, W) of "
            f"four pixels or more and m of them at most are accepted: pass these."
        )
    g = ((x[0] ** 2).sum(axis=0) - (y[0] ** 2).sum(axis=0)) ** 2
    h_squared, r = 0.0, np.empty(n)
    for rows in row_blocks(n):
        squares = (x[0][:, rows].T @ x[0] - y[0][:, rows].T @ y[0]) ** 2
        r[rows] = squares.sum(axis=1) - g[rows]
        h_squared += float((squares**2).sum() - (g[rows] ** 2).sum())
    p1, p2, p3, p4 = np.cumprod([(m - j) / (n - j) for j in range(4)])
    mu, gamma, r_squared, rg = r.sum(), g.sum(), (r**2).sum(), (r * g).sum()
    triples, quadruples = r_squared - h_squared, mu**2 - 4 * r_squared + 2 * h_squared
    pairs = (2 * p2 * h_squared + 4 * p3 * triples + p4 * quadruples) / p2**2 - mu**2
    own = (p1 * (g**2).sum() + p2 * (gamma**2 - (g**2).sum())) / p1**2 - gamma**2
    both = (2 * p2 * rg + p3 * (mu * gamma - 2 * rg)) / (p1 * p2) - mu * gamma
    return float(pairs + own + 2 * both)


def pixels_at_cost(n: int, student_channels: int, teacher_channels: int, k: int = 15) -> int:
    """Return how many pixels `sampled_fa_loss` may take at the cost of FFA with k probes (§4).

    Of m pixels the N×N or the Gram path of FA is taken, whichever is cheaper; never above N.

    Examples
    --------
    Gram of all pixels where channels are few, else a part:

    >>> pixels_at_cost(1024, 16, 16), pixels_at_cost(256, 32, 32), pixels_at_cost(3136, 64, 64)
    (1024, 160, 980)
    """
    budget = multiply_adds("ffa", n, student_channels, teacher_channels, k)
    direct = int(np.sqrt(budget / multiply_adds("direct", 1, student_channels, teacher_channels)))
    gram = budget // multiply_adds("gram", 1, student_channels, teacher_channels)
    return min(n, max(direct, gram))


def deflated_probes(
    student: Any, teacher: Any, k: int, *, sketch: int, rng: np.random.Generator
) -> Array:
    """Probes that hold the gap's leading range and random directions beside it (E3).

    With Q an orthonormal basis of AΩ, Ω gaussian with ``sketch`` columns: Z = [√k·Q,
    √(k/(k−sketch))·(I − QQᵀ)G]. Given Q, E ZZᵀ = kI, so `faqd_math.ffa_loss` with these probes is
    unbiased; only the rest of A, after Q, is left to chance (the idea of Hutch++, Meyer, Musco,
    Musco & Woodruff 2021, for the squared norm). The sketch costs ``sketch`` probes more.

    Parameters
    ----------
    k, sketch : int
        Probes in all, and those in Q; sketch < k ≤ N.
    rng : numpy.random.Generator
        Source of Ω and G.

    Returns
    -------
    array (N, k) or (B, N, k)
    """
    check_rng(rng)
    x, y, _ = unit_pixel_pair(student, teacher)
    n, k, sketch = x.shape[-1], check_count(k, "k"), check_count(sketch, "sketch")
    if not sketch < k <= n:
        raise ValueError(
            f"sketch is {sketch} and k is {k}; sketch < k ≤ N = {n} is accepted: change them."
        )
    q, _ = np.linalg.qr(apply_gap(x, y, rng.standard_normal((len(x), n, sketch))))
    rest = rng.standard_normal((len(x), n, k - sketch))
    rest -= q @ (q.mT @ rest)
    probes = np.concatenate([np.sqrt(k) * q, np.sqrt(k / (k - sketch)) * rest], axis=-1)
    return probes if np.ndim(student) == 4 else probes[0]


def _check_pixels(pixels: Any, n: int, batch: int) -> Indices:
    """Return (batch, m) indices below n, distinct in each row, at least two."""
    chosen = np.asarray(pixels)
    if not np.issubdtype(chosen.dtype, np.integer):
        raise TypeError(
            f"pixels has dtype {chosen.dtype}; integers are accepted: draw them by sample_pixels."
        )
    if chosen.ndim not in (1, 2) or chosen.shape[-1] < 2 or chosen.shape[:-1] not in ((), (batch,)):
        raise ValueError(
            f"pixels has shape {chosen.shape}; (m,) or ({batch}, m) with m ≥ 2 is accepted: draw "
            f"them by sample_pixels."
        )
    ordered = np.sort(chosen, axis=-1)
    if (np.diff(ordered, axis=-1) == 0).any() or ordered.min() < 0 or ordered.max() >= n:
        raise ValueError(
            f"pixels repeats an index or leaves 0 to {n - 1}; distinct indices in that range are "
            f"accepted: draw them by sample_pixels."
        )
    return np.broadcast_to(chosen, (batch, chosen.shape[-1])).astype(np.intp)
