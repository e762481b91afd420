"""The step of the exact weight projection, by a sweep over all breakpoints (Q3)."""

from __future__ import annotations

import torch
from torch import Tensor


def exact_step(magnitudes: Tensor, bits: int) -> Tensor:
    """Return each row's best step δ for levels δ·{0, ±1, …, ±(2^(b−1) − 1)}.

    Parameters
    ----------
    magnitudes : Tensor (R, m), floating
        |w|, one row per step.
    bits : int
        b >= 2.

    Returns
    -------
    Tensor (R, 1), float64
        The minimiser of ‖w − q‖²; 0 for a row of zeros, NaN for a row that holds NaN.

    Notes
    -----
    As δ falls, the code of w_i rises from j − 1 to j at the breakpoint |w_i|/(j − ½), which adds
    |w_i| to I = ⟨|w|, q̂⟩ and 2j − 1 to N = ⟨q̂, q̂⟩. Between breakpoints the codes are fixed and
    their best step is I/N, with the error ‖w‖² − I²/N: the largest I²/N is the optimum. Time and
    memory grow with the m(2^(b−1) − 1) breakpoints.
    """
    levels = torch.arange(1, 2 ** (bits - 1), device=magnitudes.device).double()
    weights = magnitudes.double()[..., None].expand(-1, -1, len(levels))
    order = (weights / (levels - 0.5)).flatten(1).argsort(dim=1, descending=True)
    inner = weights.flatten(1).gather(1, order).cumsum(1)
    norm = (2 * levels - 1)[order % len(levels)].cumsum(1)
    best = (inner.square() / norm).argmax(1, keepdim=True)
    return inner.gather(1, best) / norm.gather(1, best)
