"""What the forms of the loss share: their interface, sums in float64, when digits are lost (§5).

A form computes Σ|A_ij|^order, or Σ|(AZ)_ij|^order with probes, of unit pixels in their dtype, and
its gradient by the student's (§1). The forms are in `gram`, `direct` and `projected`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

# Promised relative accuracy of values from float32; samples that may miss it go to float64.
ACCURACY = 1e-4
ROUNDOFF = 2.0**-24  # of float32


class Pixels(NamedTuple):
    """What a form is computed from."""

    student: Tensor  # unit pixels X (B, C, N)
    teacher: Callable[[], Tensor]  # returns Y, which not every slope needs
    probes: Tensor | None  # Z (B, N, k)


class Measured(NamedTuple):
    """The totals of a batch, and what their slope needs."""

    values: Tensor  # (B,), float64
    accurate: Tensor  # (B,), bool: whether the pixels' dtype left the digits that are promised
    saved: Tensor  # (B, …), in the pixels' dtype


@dataclass(frozen=True)
class Form:
    """One way to compute the loss."""

    # The totals of a batch in pieces, each of which lasts until the next.
    measure: Callable[[Iterable[Pixels]], Measured]
    # Puts the totals' gradient by X, as if its pixels were free, over `factor` into the last
    # argument; the second is what `measure` saved.
    slope: Callable[[Pixels, Tensor, Tensor], Tensor]
    factor: int
    saved_shape: Callable[[Pixels], tuple[int, ...]]  # without the batch
    # The totals (B,) of X and Y whose digits `measure` loses in float64, too.
    careful_values: Callable[[Tensor, Tensor], Tensor] | None = None


def joined(pieces: Iterable[tuple[Tensor, ...]]) -> Iterator[Tensor]:
    """Join the first, the second, … tensors of all pieces along the batch."""
    for tensors in zip(*pieces, strict=True):
        yield torch.cat(tensors) if len(tensors) > 1 else tensors[0]


def accumulation_dtype(device: torch.device) -> torch.dtype:
    """float64, in which maps of every dtype are exact; float32 where the device has no more."""
    return torch.float32 if device.type == "mps" else torch.float64


def power_sum(matrices: Tensor, order: int = 2) -> Tensor:
    """Return Σ|m_ij|^order over the last two axes, accumulated in float64."""
    dtype = accumulation_dtype(matrices.device)
    norm = torch.linalg.vector_norm(matrices, ord=order, dim=(-2, -1), dtype=dtype)
    return norm.square() if order == 2 else norm


def keeps_digits(
    values: Tensor, minuends: Tensor | float, entries: int, order: int, dtype: torch.dtype
) -> Tensor:
    """Whether a difference, of so many entries, keeps its digits beside √minuends (float32).

    First powers cancel here: the norm is off by at most 4u·√minuends, by trial.
    """
    if dtype != torch.float32:
        return torch.ones_like(values, dtype=torch.bool)
    share = 4 * ROUNDOFF / ACCURACY
    if order == 1:  # ‖·‖₁ <= √entries·‖·‖₂
        return values >= share * (entries * minuends) ** 0.5
    return values >= share**2 * minuends
