"""Weights projected on a few levels, while training moves the float weights behind (§6)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn.utils import parametrize

from faqd_train.config.networks import Projection
from faqd_train.quantization.exact_step import exact_step
from faqd_train.quantization.released import RELEASED

LLOYD_ITERATIONS = 2  # of a training step: from the step before, the first nearly converges


@torch.no_grad()
def project_weights(weights: Tensor, bits: int, *, per_channel: bool = False) -> Tensor:
    """Project a tensor on its nearest levels: argmin ‖w − q‖² over step and levels (Q1–Q3).

    Parameters
    ----------
    weights : Tensor, any shape, floating
        One step δ is fitted to the whole tensor, or to each index of its first axis.
    bits : int
        1: δ·{−1, +1}; b >= 2: δ·{0, ±1, …, ±(2^(b−1) − 1)}.
    per_channel : bool
        Give each output channel, the first axis, a step of its own.

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
    """Return the exact projection's step (R, 1), float64, of each row of weights (R, m)."""
    if bits == 1:
        return rows.abs().mean(1, keepdim=True, dtype=torch.float64)
    return exact_step(rows.abs(), bits)


@torch.no_grad()
def lloyd_step(rows: Tensor, bits: int, step: Tensor, iterations: int) -> Tensor:
    """Round to the nearest levels and refit the step, in turns; the error never rises (Q3).

    Parameters
    ----------
    rows : Tensor (R, m), floating
        Weights, a row for each step.
    bits : int
        As in `project_weights`.
    step : Tensor (R, 1), float64
        Where to start. A step so large that a whole row rounds to 0 starts over, from max|w| as
        the largest level.
    iterations : int
        How often.

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
    """Return weights (R, m): a row for each step."""
    return weights.flatten(1) if per_channel else weights.reshape(1, -1)


def on_levels(rows: Tensor, step: Tensor, bits: int) -> Tensor:
    """Return the nearest level of each weight."""
    return (step * _codes(rows.double(), step, bits)).to(rows.dtype) + 0.0  # −0 + 0 is 0


def _codes(rows: Tensor, step: Tensor, bits: int) -> Tensor:
    """Return the levels nearest to the weights, as whole numbers; halfway goes towards 0."""
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
        The layer's; the alternating projection starts from their exact step.
    bits : int
        1 to 8; "released" has 1, 2 and 4.
    projection : {"exact", "alternating", "released"}
        The minimiser; a fixed number of Lloyd iterations from the step of the training step
        before, which is kept in the buffer ``step``, saved with the network and used as it is in
        evaluation mode; or the rules of the released code.
    per_channel : bool
        A step for each output channel instead of one.
    """

    step: Tensor

    def __init__(
        self,
        weights: Tensor,
        bits: int,
        projection: Projection = "exact",
        *,
        per_channel: bool = False,
    ) -> None:
        super().__init__()
        self.bits, self.projection, self.per_channel = bits, projection, per_channel
        if projection == "alternating":
            self.register_buffer("step", fitted_step(as_rows(weights.detach(), per_channel), bits))
        self.projected: Tensor | None = None  # what the last training step computed with
        self.ready: Tensor | None = None  # the projection, where `project_together` has made it

    @property
    def levels(self) -> int:
        """The most distinct values that a channel's weights can have."""
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


def project_together(network: nn.Module) -> None:
    """From now on, let every forward pass project the exact weights of one size in one go.

    A network has many layers of few sizes, and most of a projection's time goes into starting
    small operations. Each weight is as if projected alone, to the rounding of float64 sums.
    """
    network.register_forward_pre_hook(_make_ready)
    network.register_forward_hook(_forget, always_call=True)


@torch.no_grad()
def _make_ready(network: nn.Module, _inputs: Any) -> None:
    groups = defaultdict(list)
    for layer in network.modules():
        if isinstance(layer, parametrize.ParametrizationList):
            quantizer, weights = layer[0], layer.original
            if isinstance(quantizer, QuantizedWeight) and quantizer.projection == "exact":
                rows = as_rows(weights, quantizer.per_channel)
                key = rows.shape[1], quantizer.bits, rows.dtype, rows.device
                groups[key].append((quantizer, weights, rows))
    for (_, bits, *_), group in groups.items():
        together = torch.cat([rows for *_, rows in group])
        projected = on_levels(together, fitted_step(together, bits), bits)
        parts = torch.split(projected, [len(rows) for *_, rows in group])
        for (quantizer, weights, _), part in zip(group, parts, strict=True):
            quantizer.ready = part.view_as(weights)


def _forget(network: nn.Module, *_passed: Any) -> None:
    for quantizer in network.modules():
        if isinstance(quantizer, QuantizedWeight):
            quantizer.ready = None


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
