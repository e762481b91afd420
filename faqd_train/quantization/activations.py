"""Activations on a grid of learned step, with the paper's coarse derivatives (Q5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def quantize_activations(inputs: Tensor, step: Tensor, bits: int) -> Tensor:
    """Round up to the grid 0, α, …, (2^b − 1)α (Q5).

    Parameters
    ----------
    inputs : Tensor, any shape
        The input of a ReLU; 0 or less gives 0.
    step : Tensor ()
        α > 0.
    bits : int
        b >= 1.

    Returns
    -------
    Tensor
        Of the inputs' shape. Its derivative in x is 1 on (0, (2^b − 1)α] and 0 elsewhere; in α
        it is 0 for x <= 0, 2^(b−1) inside and 2^b − 1 beyond.

    Examples
    --------
    >>> quantize_activations(torch.tensor([-1.0, 0.3, 0.5, 9.0]), torch.tensor(0.25), bits=2)
    tensor([0.0000, 0.5000, 0.5000, 0.7500])
    """
    return _coarse_gradient(inputs, step, bits)


class _CoarseGradient(torch.autograd.Function):
    """The quantizer forward, its three-valued surrogate derivatives backward.

    Memory bandwidth limits it: the passes over the maps are few, and torch vectorises each, as it
    would not with boolean masks. The thresholds are Python numbers: the host waits for nothing.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, step: Tensor, bits: int) -> Tensor:
        scaled = inputs / step
        ctx.save_for_backward(scaled)
        ctx.bits = bits
        codes, top = torch.ceil(scaled), 2**bits - 1
        if torch.compiler.is_compiling():
            # In torch 2.11 a compiled function that works on its result in place loses its
            # derivative (pytorch issue 180642).
            return codes.clamp(0, top) * step
        return codes.clamp_(0, top).mul_(step)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        (scaled,) = ctx.saved_tensors
        top = 2**ctx.bits - 1
        beyond = _where_above(gradient, scaled, top)
        in_inputs = _where_above(gradient, scaled, 0).sub_(beyond)
        in_step = 2 ** (ctx.bits - 1) * in_inputs.sum() + top * beyond.sum()
        return in_inputs, in_step, None


_coarse_gradient: Callable[..., Tensor] = _CoarseGradient.apply
# (gradient, x, t): the gradient where x > t, and 0 elsewhere, in one pass.
_where_above: Callable[..., Tensor] = torch.ops.aten.threshold_backward.default


RELEASED_STARTS = {1: 1.2221, 2: 0.6511, 4: 0.1946}


class _Activation(nn.Module):
    """Takes the place of a ReLU.

    ``calibrated`` says whether `calibrate` leaves the step as it is.
    """

    def __init__(self, bits: int, *, calibrated: bool) -> None:
        super().__init__()
        self.bits, self.calibrated = bits, calibrated

    def extra_repr(self) -> str:
        """Show the bits in the printed network."""
        return f"bits={self.bits}"


class QuantizedActivation(_Activation):
    """A quantizer whose parameter is log α, so that no update can make α negative."""

    def __init__(self, bits: int) -> None:
        super().__init__(bits, calibrated=False)
        # Until calibrated, the grid spans three standard deviations of a normalised input.
        self.log_step = nn.Parameter(torch.tensor(3.0 / (2**bits - 1)).log())

    @property
    def step(self) -> Tensor:
        """The step α."""
        return self.log_step.exp()

    def forward(self, inputs: Tensor) -> Tensor:
        """Quantize inputs of any shape."""
        return quantize_activations(inputs, self.step, self.bits)


class ReleasedActivation(_Activation):
    """As in the released code: α itself is learned, from a fixed start and within [1e-3, 5].

    Its gradient is multiplied by 0.01 and clamped to [−1, 1]; calibration leaves it as it is.
    """

    def __init__(self, bits: int) -> None:
        super().__init__(bits, calibrated=True)
        self.step = nn.Parameter(torch.tensor(RELEASED_STARTS[bits]))

    def forward(self, inputs: Tensor) -> Tensor:
        """Quantize inputs of any shape, after clamping the step to its range."""
        with torch.no_grad():
            self.step.clamp_(1e-3, 5)
        return quantize_activations(inputs, _released_gradient(self.step), self.bits)


class _ReleasedGradient(torch.autograd.Function):
    """The step forward; backward its gradient times 0.01, clamped to [−1, 1]."""

    @staticmethod
    def forward(_ctx: Any, step: Tensor) -> Tensor:
        return step.view_as(step)

    @staticmethod
    def backward(_ctx: Any, gradient: Any) -> Any:
        return (0.01 * gradient).clamp(-1, 1)


_released_gradient: Callable[..., Tensor] = _ReleasedGradient.apply


@torch.no_grad()
def best_step(inputs: Tensor, bits: int) -> Tensor:
    """Return the step of least squared error on max(inputs, 0), among 64 candidates.

    Examples
    --------
    >>> best_step(torch.tensor([1.0, 2.0, 3.0]), bits=2)
    tensor(1.)
    """
    rectified = inputs.clamp(min=0)
    largest = rectified.max() / (2**bits - 1)
    steps = largest * torch.arange(1, 65, device=inputs.device) / 64
    errors = [(quantize_activations(rectified, s, bits) - rectified).square().sum() for s in steps]
    return steps[torch.stack(errors).argmin()]


@torch.no_grad()
def calibrate(network: nn.Module, images: Tensor) -> None:
    """Set every activation step and batch norm from a few images, in running order.

    Parameters
    ----------
    network : nn.Module
        With `QuantizedActivation` modules; put in training mode. Steps that came from another
        network stay. The running statistics of its batch norms become those of these images.
    images : Tensor (B, C, H, W)
        Inputs as the network takes them.
    """

    def set_step(module: QuantizedActivation, inputs: tuple[Tensor, ...]) -> None:
        if not module.calibrated and inputs[0].max() > 0:
            module.log_step.copy_(best_step(inputs[0], module.bits).log())

    handles = [
        module.register_forward_pre_hook(set_step)
        for module in network.modules()
        if isinstance(module, QuantizedActivation)
    ]
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    network.train()
    try:
        for norm in norms:
            norm.momentum = 1.0
        network(images)
    finally:
        for handle in handles:
            handle.remove()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def activation_steps(network: nn.Module) -> dict[str, float]:
    """Return the step α of each quantized activation, by module name."""
    return {
        name: module.step.item()
        for name, module in network.named_modules()
        if isinstance(module, QuantizedActivation | ReleasedActivation)
    }
