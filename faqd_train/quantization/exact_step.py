"""The step of the exact weight projection, row by row, from a sweep of a proven bracket (Q3).

Write H(δ) = max over codes of ‖w‖² − ‖w − δq̂‖², that is 2δI − δ²N with I = ⟨|w|,q̂⟩ and N = ⟨q̂,q̂⟩
at the codes nearest to |w|/δ. Its largest value is the largest I²/N, which the projection seeks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

GRID = 64  # points of a pass that narrows the bracket, or as many as levels
PASSES = 4  # at most
ENOUGH = 4  # times fewer breakpoints than weights: then sorting them costs next to nothing
# Far above the rounding of float64 sums of 10⁶ terms, so that no maximiser is cut off.
SLACK = 1e-9
TINY = torch.finfo(torch.float64).tiny


def exact_step(magnitudes: Tensor, bits: int) -> Tensor:
    """Return each row's best step δ for levels δ·{0, ±1, …, ±(2^(b−1) − 1)}.

    Parameters
    ----------
    magnitudes : Tensor (R, m), floating
        |w|, a row for each step that is sought.
    bits : int
        b >= 2.

    Returns
    -------
    Tensor (R, 1), float64
        The minimiser of ‖w − q‖²; 0 for a row of zeros.

    Notes
    -----
    As δ falls, the code of w_i rises from j − 1 to j at the breakpoint |w_i|/(j − ½), and each
    stretch between breakpoints has one I²/N: comparing all m(2^(b−1) − 1) of them is exact, but
    slow. So the bracket of δ is first narrowed on a grid. With t = 1/δ, φ(t) = H/δ² is a sum of
    maxima of lines, so it is convex, and below its chord between two points of the grid. The
    chord bounds H there, and where the bound is below an I²/N already found, no maximiser lies.
    NaN among the weights gives NaN.
    """
    rows = _Rows.of(magnitudes, bits)
    peak, total = rows.ascending[:, -1:], rows.tops[:, -1:]
    # δ is a mean of |w_i|/q̂_i, so at most max|w|. Codes of 1 alone give H = m·mean², and H is at
    # most 2δ(2^(b−1) − 1)·m·mean: a δ below mean/(2(2^(b−1) − 1)) cannot reach that.
    low = (total / magnitudes.shape[1] / (2 * len(rows.levels))).clamp(min=TINY)
    bracket = low, peak.clamp(min=2 * low)
    for _ in range(PASSES):
        bracket = _narrow(rows, *bracket)
        first, end = rows.first_above(torch.cat(bracket, 1)).unbind(1)
        if int((end - first).sum()) * ENOUGH <= magnitudes.numel():
            break
    return _sweep(rows, *bracket)


class _Rows(NamedTuple):
    """Magnitudes sorted once, with the sums over each row's largest ones."""

    ascending: Tensor  # (R, m), float64
    tops: Tensor  # (R, m + 1): the i-th is the sum of the i largest
    levels: Tensor  # 1 … 2^(b−1) − 1

    @classmethod
    def of(cls, magnitudes: Tensor, bits: int) -> _Rows:
        ascending = _ascending(magnitudes).double()
        tops = ascending.new_zeros(len(ascending), ascending.shape[1] + 1)
        torch.cumsum(ascending.flip(1), 1, out=tops[:, 1:])
        levels = torch.arange(1, 2 ** (bits - 1), device=magnitudes.device).double()
        return cls(ascending, tops, levels)

    def first_above(self, steps: Tensor) -> Tensor:
        """For steps (R, G), each level's first weight that rounds to it or above: (R, G, J)."""
        thresholds = steps[..., None] * (self.levels - 0.5)
        return torch.searchsorted(self.ascending, thresholds.flatten(1)).view_as(thresholds)

    def products(self, first: Tensor) -> tuple[Tensor, Tensor]:
        """I and N, from (R, G, J) to (R, G): reaching j adds |w_i| and j² − (j − 1)²."""
        reached = self.ascending.shape[1] - first
        inner = self.tops.gather(1, reached.flatten(1)).view_as(first).sum(-1)
        return inner, reached.double() @ (2 * self.levels - 1)


def _ascending(magnitudes: Tensor) -> Tensor:
    """Sort each row; NumPy does so several times faster than torch, which returns the order too."""
    if magnitudes.device.type == "cpu":
        return torch.from_numpy(np.sort(magnitudes.numpy(), axis=1))
    return magnitudes.sort(dim=1).values


def _narrow(rows: _Rows, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Cut off both ends of the bracket where the chord's bound rules a maximiser out."""
    points = max(GRID, len(rows.levels))
    exponents = torch.linspace(0, 1, points, device=low.device, dtype=low.dtype)
    steps = low * (high / low) ** exponents
    inner, norm = rows.products(rows.first_above(steps))
    phi = 2 * inner / steps - norm
    a, b, phi_b = steps[:, :-1], steps[:, 1:], phi[:, 1:]
    slope = (phi[:, :-1] - phi_b) / (1 / a - 1 / b)
    # The chord times δ² is slope·δ + intercept·δ², and a convex φ with φ(0) = 0 has intercept <= 0.
    intercept = (phi_b - slope / b).clamp(max=-TINY)
    peak = torch.minimum(torch.maximum(-slope / (2 * intercept), a), b)
    bound = peak.square() * (phi_b + slope * (1 / peak - 1 / b))
    found = (inner.square() / norm.clamp(min=1)).amax(1, keepdim=True)
    kept = (bound >= found * (1 - SLACK)).int()
    return a.gather(1, kept.argmax(1, keepdim=True)), b.gather(
        1, points - 2 - kept.flip(1).argmax(1, keepdim=True)
    )


def _sweep(rows: _Rows, low: Tensor, high: Tensor) -> Tensor:
    """Compare I²/N of all stretches between the breakpoints of a bracket."""
    first, end = rows.first_above(torch.cat([low, high], 1)).unbind(1)  # (R, J) each
    inner, norm = rows.products(end[:, None])
    offsets = torch.arange(max(int((end - first).max()), 0), device=low.device)
    index = first[..., None] + offsets  # (R, J, K): rows and levels with fewer are padded
    inside = index < end[..., None]
    weights = rows.ascending.gather(1, index.clamp(max=rows.ascending.shape[1] - 1).flatten(1))
    weights = weights.view_as(index) * inside
    breakpoints = weights / (rows.levels - 0.5)[:, None]
    order = breakpoints.flatten(1).argsort(dim=1, descending=True)
    rises = ((2 * rows.levels - 1)[:, None] * inside).flatten(1).gather(1, order)
    inner = torch.cat([inner, weights.flatten(1).gather(1, order)], 1).cumsum(1)
    norm = torch.cat([norm, rises], 1).cumsum(1)
    best = (inner.square() / norm.clamp(min=1)).argmax(1, keepdim=True)
    return inner.gather(1, best) / norm.gather(1, best).clamp(min=1)
