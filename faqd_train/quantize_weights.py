"""Weights projected on a few levels, while training moves the float weights behind (§6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx


@torch.no_grad()
def project_weights(weights: Tensor, bits: int) -> Tensor:
    """Project a tensor on its nearest levels: argmin ‖w − q‖² over step and levels (Q1–Q3).

    Parameters
    ----------
    weights : Tensor, any shape, floating
        One step δ is fitted to the whole tensor.
    bits : int
        1: δ·{−1, +1}; b >= 2: δ·{0, ±1, …, ±(2^(b−1) − 1)}.

    Returns
    -------
    Tensor
        Of the weights' shape and dtype; sums are accumulated in float64. All-zero weights give
        zeros.

    Notes
    -----
    As δ falls from infinity, the level of w_i rises from j − 1 to j at δ = |w_i|/(j − ½).
    Each stretch between these breakpoints has one assignment q̂, whose best step leaves the
    error ‖w‖² − ⟨w,q̂⟩²/⟨q̂,q̂⟩. Running sums over the sorted breakpoints give all of them, so
    the best is exact, in O(n 2^(b−1) log n). For two bits it is Q2.

    Examples
    --------
    >>> project_weights(torch.tensor([1.0, -0.75, 0.125, 0.0]), bits=2)
    tensor([ 0.8750, -0.8750,  0.0000,  0.0000])
    """
    magnitude = weights.abs()
    if bits == 1:
        step = magnitude.mean(dtype=torch.float64).to(weights.dtype)
        return torch.where(weights < 0, -step, step)
    top = 2 ** (bits - 1) - 1
    levels = torch.arange(1, top + 1, device=weights.device, dtype=weights.dtype)
    breakpoints = magnitude.flatten()[:, None] / (levels - 0.5)
    order = breakpoints.flatten().argsort(descending=True)
    # Rising from j − 1 to j adds |w_i| to ⟨w,q̂⟩ and j² − (j − 1)² to ⟨q̂,q̂⟩.
    inner = magnitude.flatten().double()[order // top].cumsum(0)
    norm = (2 * levels.double() - 1)[order % top].cumsum(0)
    best = (inner.square() / norm).argmax()
    step = (inner[best] / norm[best]).clamp(min=torch.finfo(torch.float64).tiny)
    codes = torch.ceil(magnitude.double() / step - 0.5).clamp(0, top)
    return (step * codes * weights.sign()).to(weights.dtype) + 0.0  # −0 + 0 is 0


class _StraightThrough(torch.autograd.Function):
    """Projected weights forward; the gradient passes to the float weights as it is."""

    @staticmethod
    def forward(_ctx: FunctionCtx, weights: Tensor, bits: int) -> Tensor:
        return project_weights(weights, bits)

    @staticmethod
    def backward(_ctx: FunctionCtx, gradient: Any) -> Any:
        return gradient, None


_straight_through: Callable[..., Tensor] = _StraightThrough.apply


class QuantizedWeight(nn.Module):
    """Parametrisation of a weight: the module computes with levels, the optimizer moves floats.

    This is BinaryConnect: w ← w − lr·∂loss/∂q with q the projection of w.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    def forward(self, weights: Tensor) -> Tensor:
        """Project; differentiable by the straight-through estimator."""
        return _straight_through(weights, self.bits)
