"""The losses as a function of autograd, and under torch.compile as operators that it does not open.

The latter leave no graph break: whether a sample needs care is decided inside them. The static
path decides nothing, and is compiled as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor

from faqd_train.losses import batching, static
from faqd_train.losses.direct import direct
from faqd_train.losses.forms import Form, Pixels, accumulation_dtype
from faqd_train.losses.gram import gram
from faqd_train.losses.pixels import Maps
from faqd_train.losses.projected import projected

FORMS: dict[str, Form] = {
    "gram": gram(),
    "direct": direct(order=2),
    "direct, order 1": direct(order=1),
    "projected, paper": projected(order=2),
    "projected, one-sided": projected(order=2, one_sided=True),
    "projected, order 1": projected(order=1),
}


def affinity_values(maps: list[Tensor], form: str, *, is_static: bool) -> Tensor:
    """Compute values (B,) of FA or FFA, differentiable by the student.

    The maps are the student and the teacher (B, C, H, W), of one size, and for a projected form
    probes (N, k) or (B, N, k); the form is one of `FORMS`; `static` says what is_static is.
    """
    apply = cast(Callable[..., Tensor], _AffinityValues.apply)
    return apply(form, is_static, *maps)


class _AffinityValues(torch.autograd.Function):
    """Values (B,), differentiable once and by the student only."""

    @staticmethod
    def forward(ctx: Any, form: str, is_static: bool, *maps: Tensor) -> Tensor:
        compute = compute_values if _is_open(is_static) else _values_operator
        values, kept = compute(list(maps), form, is_static)
        ctx.form, ctx.is_static, ctx.count = form, is_static, len(maps)
        ctx.save_for_backward(*maps, *kept)
        return values

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        # once_differentiable would take the gradient for a constant, and say nothing.
        if torch.is_grad_enabled():
            raise RuntimeError(
                "create_graph=True was asked of a loss that is differentiated only once; "
                "create_graph=False is accepted: leave the option out."
            )
        compute = compute_gradient if _is_open(ctx.is_static) else _gradient_operator
        saved = list(ctx.saved_tensors)
        maps, kept = saved[: ctx.count], saved[ctx.count :]
        gradient = compute(outer, maps, kept, ctx.form, ctx.is_static)
        return None, None, gradient, *[None] * (ctx.count - 1)


def _is_open(is_static: bool) -> bool:
    """Whether what computes is called as it is, and not as an operator of torch.compile."""
    return is_static or not torch.compiler.is_compiling()


def compute_values(maps: list[Tensor], form: str, is_static: bool) -> tuple[Tensor, list[Tensor]]:
    """Compute values (B,) of FA or FFA of maps of one size, and what the gradient needs."""
    flat, path = _flat(maps), static if is_static else batching
    with _without_autocast(flat.student.device):
        totals, kept = path.forward(flat, FORMS[form])
    if flat.probes is not None:
        totals = totals / flat.probes.shape[-1]
    return totals / flat.student.shape[-1] ** 2, kept


def compute_gradient(
    outer: Tensor, maps: list[Tensor], kept: list[Tensor], form: str, is_static: bool
) -> Tensor:
    """Compute the gradient by the student of values weighted by ``outer`` (B,)."""
    flat, path = _flat(maps), static if is_static else batching
    probes = 1 if flat.probes is None else flat.probes.shape[-1]
    factor = FORMS[form].factor / probes / flat.student.shape[-1] ** 2
    result = torch.empty_like(maps[0], memory_format=_layout_of(maps[0]))
    with _without_autocast(flat.student.device):
        outer = factor * outer[:, None, None]
        path.backward(outer, flat, FORMS[form], kept, result.flatten(2))
    return result


_values_operator = torch.library.custom_op("faqd::affinity_values", compute_values, mutates_args=())
_gradient_operator = torch.library.custom_op(
    "faqd::affinity_gradient", compute_gradient, mutates_args=()
)


@_values_operator.register_fake
def _(maps: list[Tensor], form: str, is_static: bool) -> tuple[Tensor, list[Tensor]]:
    student, teacher, probes = _flat(maps)
    batch, _, n = student.shape
    dtype = torch.float64 if is_static else batching.quick_dtype(student, teacher)
    shape = FORMS[form].saved_shape(Pixels(student, lambda: teacher, probes))
    kept = [student.new_empty(batch, *shape, dtype=dtype)]
    if not is_static:
        scales = [student.new_empty(batch, 1, n, dtype=dtype) for _ in range(2)]
        kept = [student.new_empty(batch, dtype=torch.bool), *scales, *kept]
    return student.new_empty(batch, dtype=accumulation_dtype(student.device)), kept


@_gradient_operator.register_fake
def _(_outer: Tensor, maps: list[Tensor], *_rest: Any) -> Tensor:
    return torch.empty_like(maps[0], memory_format=_layout_of(maps[0]))


def _flat(maps: list[Tensor]) -> Maps:
    student, teacher, *probes = maps
    return Maps(student.flatten(2), teacher.flatten(2), *probes)


def _layout_of(maps: Tensor) -> torch.memory_format:
    """How a gradient lies: as the maps do, if their pixels make one axis, else contiguously."""
    channels_last = maps.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if channels_last else torch.contiguous_format


def _without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Keep products in the dtypes chosen, where autocast would lower them."""
    if torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
