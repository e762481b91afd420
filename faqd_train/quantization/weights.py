"""Weights projected onto a few levels; training moves the float weights behind them (§6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from faqd_train.config.quantization import Projection
from faqd_train.quantization.exact_step import exact_step
from faqd_train.quantization.released import RELEASED

LARGEST_SWEEP = 2**24  # breakpoints; each takes some 40 bytes
REFINEMENTS = 20  # iterations from the step of a sample
LLOYD_ITERATIONS = 2  # per training step; the first nearly converges


@torch.no_grad()
def project_weights(weights: Tensor, bits: int, *, per_channel: bool = False) -> Tensor:
    """Project a tensor onto its nearest levels: argmin ‖w − q‖² over step and levels (Q1–Q3).

    Parameters
    ----------
    weights : Tensor, any shape, floating
        One step δ is fitted to the whole tensor, or to each index of its first axis.
    bits : int
        1: δ·{−1, +1}; b >= 2: δ·{0, ±1, …, ±(2^(b−1) − 1)}.
    per_channel : bool
        Fit one step per output channel, the first axis.

    Returns
    -------
    Tensor
        Of the weights' shape and dtype; sums are accumulated in float64. All-zero weights give
        zeros.

    Examples
    --------
    >>> project_weights(torch.tensor([1.0, -0.75, 0.125, 0.0]), bits=2)
    tensor([ 0.8750, -0.8750,  0.0000,  0.0000])
    """
    rows = as_rows(weights, per_channel)
    return on_levels(rows, fitted_step(rows, bits), bits).view_as(weights)


@torch.no_grad()
def fitted_step(rows: Tensor, bits: int) -> Tensor:
    """Return the step of the exact projection (R, 1), float64, for weights (R, m)."""
    if bits == 1:
        return rows.abs().mean(1, keepdim=True, dtype=torch.float64)
    return exact_step(rows.abs(), bits)


@torch.no_grad()
def starting_step(rows: Tensor, bits: int) -> Tensor:
    """Return the step (R, 1), float64, from which the alternating projection starts.

    It is the exact one. Where that would sort more than `LARGEST_SWEEP` breakpoints, it is the
    exact one of evenly spaced order statistics of |w|, refined on all weights.
    """
    count = rows.numel() * _top(bits)
    if bits == 1 or count <= LARGEST_SWEEP:
        return fitted_step(rows, bits)
    stride = -(-count // LARGEST_SWEEP)
    sample = rows.abs().sort(dim=1).values[:, stride // 2 :: stride]
    return lloyd_step(rows, bits, fitted_step(sample, bits), REFINEMENTS)


@torch.no_grad()
def lloyd_step(rows: Tensor, bits: int, step: Tensor, iterations: int) -> Tensor:
    """Alternate rounding to the nearest levels and refitting the step; the error never rises (Q3).

    Parameters
    ----------
    rows : Tensor (R, m), floating
        Weights, one row per step.
    bits : int
        As in `project_weights`.
    step : Tensor (R, 1), float64
        The start. A step so large that a whole row rounds to 0 is replaced by the one whose
        largest level is max|w|.
    iterations : int

    Returns
    -------
    Tensor (R, 1), float64

    Examples
    --------
    >>> weights, step = torch.tensor([[1.0, 0.75, 0.125, 0.125]]), torch.tensor([[1.75]])
    >>> [lloyd_step(weights, 2, step.double(), n).item() for n in (1, 2)]
    [1.0, 0.875]
    """
    peak = rows.abs().amax(1, keepdim=True).double()
    for _ in range(iterations):
        step = torch.where(peak < step / 2, peak / _top(bits), step)
        codes = _codes(rows, step.to(rows.dtype), bits)
        inner = (rows * codes).sum(1, keepdim=True, dtype=torch.float64)
        square = codes.square().sum(1, keepdim=True, dtype=torch.float64)
        step = inner / square.clamp(min=1)
    return step


def as_rows(weights: Tensor, per_channel: bool) -> Tensor:
    """Return weights (R, m), one row per step."""
    return weights.flatten(1) if per_channel else weights.reshape(1, -1)


def on_levels(rows: Tensor, step: Tensor, bits: int) -> Tensor:
    """Return the nearest level of each weight."""
    return (step * _codes(rows.double(), step, bits)).to(rows.dtype) + 0.0  # −0 + 0 is 0


def _codes(rows: Tensor, step: Tensor, bits: int) -> Tensor:
    """Return the codes of the nearest levels; halfway rounds towards 0."""
    if bits == 1:
        return torch.where(rows < 0, -1.0, 1.0).to(rows.dtype)
    scaled = rows.abs() / step.clamp(min=torch.finfo(step.dtype).tiny)
    return torch.ceil(scaled - 0.5).clamp(0, _top(bits)) * rows.sign()


def _top(bits: int) -> int:
    return int(2 ** max(bits - 1, 1)) - 1


class _StraightThrough(torch.autograd.Function):
    """Projected weights forward; the gradient passes to the float weights as it is."""

    @staticmethod
    def forward(_ctx: FunctionCtx, _weights: Tensor, projected: Tensor) -> Tensor:
        return projected.view_as(projected)

    @staticmethod
    def backward(_ctx: FunctionCtx, gradient: Any) -> Any:
        return gradient, None


_straight_through: Callable[..., Tensor] = _StraightThrough.apply


class QuantizedWeight(nn.Module):
    """Parametrisation of a weight: the module computes with levels, the optimizer moves floats.

    This is BinaryConnect: w ← w − lr·∂loss/∂q with q the projection of w.

    Parameters
    ----------
    weights : Tensor
        Those of the layer; the alternating projection starts from their exact step.
    bits : int
        1 to 8; "released" has 1, 2 and 4.
    projection : {"alternating", "exact", "released"}
        "alternating": `LLOYD_ITERATIONS` from the step δ of the training step before. δ is the
        buffer ``step``, saved with the network and not changed in evaluation mode. "exact": the
        minimiser, by `project_weights`, which takes longer. "released": the released code's rules.
    per_channel : bool
        One step per output channel instead of one per layer.
    """

    step: Tensor

    def __init__(
        self,
        weights: Tensor,
        bits: int,
        projection: Projection = "alternating",
        *,
        per_channel: bool = False,
    ) -> None:
        super().__init__()
        self.bits, self.projection, self.per_channel = bits, projection, per_channel
        if projection == "alternating":
            rows = as_rows(weights.detach(), per_channel)
            self.register_buffer("step", starting_step(rows, bits))
        self.projected: Tensor | None = None  # what the last training step computed with
        self.ready: Tensor | None = None  # the projection, where `AlternatingProjections` made it

    @property
    def levels(self) -> int:
        """The largest number of distinct weights per step."""
        return 2 if self.bits == 1 else int(2**self.bits) - 1

    def forward(self, weights: Tensor) -> Tensor:
        """Project; differentiable by the straight-through estimator."""
        if self.ready is None or not self.training:
            projected = self._project(weights.detach())
        else:
            projected = self.ready
        if self.training:
            self.projected = projected
        return _straight_through(weights, projected)

    @torch.no_grad()
    def _project(self, weights: Tensor) -> Tensor:
        if self.projection == "released":
            return RELEASED[self.bits](weights)
        if self.projection == "exact":
            return project_weights(weights, self.bits, per_channel=self.per_channel)
        rows = as_rows(weights, self.per_channel)
        if self.training:  # evaluation takes the step as training left it
            self.step.copy_(lloyd_step(rows, self.bits, self.step, LLOYD_ITERATIONS))
        return on_levels(rows, self.step, self.bits).view_as(weights)


@torch.no_grad()
def blend_shadow_weights(model: nn.Module, beta: float) -> None:
    """Move float weights towards the projected ones: w ← (1 − β)w + βq (Yin et al. 2018, BCGD).

    Call it between the backward pass and the optimizer's step, which then makes it
    w ← (1 − β)w + βq − lr·∂loss/∂q, with the q that this training step has computed with.

    Parameters
    ----------
    model : nn.Module
        With `QuantizedWeight` parametrisations, after a forward pass in training mode.
    beta : float
        0 (BinaryConnect, nothing moves) to 1 (the step starts from the projection).
    """
    if beta == 0:
        return
    for name, quantizer in model.named_modules():
        if isinstance(quantizer, QuantizedWeight) and quantizer.projected is not None:
            parametrised = model.get_submodule(name.rpartition(".")[0])
            parametrised.get_parameter("original").lerp_(quantizer.projected, beta)
