"""The losses as a function of autograd, and under torch.compile as operators that it does not open.

The latter leave no graph break: whether a sample needs care is decided inside them. The static
path decides nothing, and is compiled as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from faqd_train.losses import batching as _pieces
from faqd_train.losses.batching import Forward
from faqd_train.losses.forms import Form, accumulation_dtype, keeps_gap


def compute_values(
    student: Tensor,
    teacher: Tensor,
    probes: Tensor | None,
    name: str,
    order: int,
    one_sided: bool,
    static: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Compute values (B,) of FA or FFA of maps of one size, and what the gradient needs."""
    compute = _pieces.static_forward if static else _pieces.forward
    return compute(student, teacher, probes, Form(name, order, one_sided))


def compute_gradient(
    outer: Tensor,
    student: Tensor,
    teacher: Tensor,
    probes: Tensor | None,
    name: str,
    order: int,
    one_sided: bool,
    static: bool,
    trusted: Tensor,
    student_scale: Tensor,
    teacher_scale: Tensor,
    core: Tensor,
) -> Tensor:
    """Compute the gradient by the student of values weighted by ``outer`` (B,)."""
    form = Form(name, order, one_sided)
    if static:
        return _pieces.static_backward(outer, student, teacher, probes, form, core)
    kept = Forward(outer, trusted, student_scale, teacher_scale, core)
    return _pieces.backward(outer, student, teacher, probes, form, kept)


_values_operator = torch.library.custom_op("faqd::affinity_values", compute_values, mutates_args=())
_gradient_operator = torch.library.custom_op(
    "faqd::affinity_gradient", compute_gradient, mutates_args=()
)


@_values_operator.register_fake
def _(
    student: Tensor,
    teacher: Tensor,
    probes: Tensor | None,
    name: str,
    _order: int,
    _one_sided: bool,
    static: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    batch, channels = student.shape[:2]
    n, both = student.shape[2] * student.shape[3], channels + teacher.shape[1]
    side = n if keeps_gap(n, both) else 0
    dtype = torch.float64 if static else _pieces.quick_dtype(student, teacher)
    scale = 0 if static else (batch, 1, n)
    core = {
        "gram": (batch, channels, both),
        "direct": (batch, side, side),
        "projected": (batch, n, 0 if probes is None else probes.shape[-1]),
    }[name]
    return (
        student.new_empty(batch, dtype=accumulation_dtype(student.device)),
        student.new_empty(0 if static else batch, dtype=torch.bool),
        student.new_empty(scale, dtype=dtype),
        student.new_empty(scale, dtype=dtype),
        student.new_empty(core, dtype=dtype),
    )


@_gradient_operator.register_fake
def _(_outer: Tensor, student: Tensor, *_rest: Any) -> Tensor:
    return torch.empty_like(student, memory_format=_pieces.layout_of(student))


class _AffinityValues(torch.autograd.Function):
    """Values (B,), differentiable once and by the student only."""

    @staticmethod
    def forward(
        ctx: Any,
        student: Tensor,
        teacher: Tensor,
        probes: Tensor | None,
        *options: Any,
    ) -> Tensor:
        closed = torch.compiler.is_compiling() and not options[-1]
        compute = _values_operator if closed else compute_values
        values, *kept = compute(student, teacher, probes, *options)
        ctx.options = options
        ctx.save_for_backward(student, teacher, probes, *kept)
        return values

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        # once_differentiable would take the gradient for a constant, and say nothing.
        if torch.is_grad_enabled():
            raise RuntimeError(
                "create_graph=True was asked of a loss that is differentiated only once; "
                "create_graph=False is accepted: leave the option out."
            )
        closed = torch.compiler.is_compiling() and not ctx.options[-1]
        compute = _gradient_operator if closed else compute_gradient
        student, teacher, probes, *kept = ctx.saved_tensors
        gradient = compute(outer, student, teacher, probes, *ctx.options, *kept)
        return gradient, *[None] * (2 + len(ctx.options))


def affinity_values(
    student: Tensor, teacher: Tensor, probes: Tensor | None, form: Form, *, static: bool
) -> Tensor:
    """Compute values (B,) of FA or FFA of maps of one size, differentiable by the student."""
    apply = cast(Callable[..., Tensor], _AffinityValues.apply)
    return apply(student, teacher, probes, *form, static)
