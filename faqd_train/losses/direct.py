"""FA of order 1 or 2 from A = XᵀX − YᵀY itself, O(N²C), in blocks of rows (§1); gradient by I8."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

import torch
from torch import Tensor

from faqd_train.losses.forms import Form, Measured, Pixels, joined, keeps_digits, power_sum

BLOCK = 2**21  # entries of a block of rows: 8 MiB of float32


def direct(order: int) -> Form:
    """Return the form of an order; it saves A where that is no larger than both maps."""
    measure, slope = partial(_measure, order=order), partial(_slope, order=order)
    return Form(measure, slope, 2 * order, _saved_shape)


def _measure(pieces: Iterable[Pixels], *, order: int) -> Measured:
    found = []
    for pixels in pieces:
        x, y = pixels.student, pixels.teacher()
        if _saved_shape(pixels)[0]:
            gap = torch.baddbmm(x.mT @ x, y.mT, y, alpha=-1)
            found.append((power_sum(gap, order), gap))
        else:
            sums = [power_sum(gap, order) for _, gap in _gap_by_rows(x, y)]
            found.append((torch.stack(sums).sum(0), x.new_empty(len(x), 0, 0)))
    values, saved = joined(found)
    n = x.shape[-1]
    return Measured(values, keeps_digits(values, 2 * n**2, n**2, order, x.dtype), saved)


def _slope(pixels: Pixels, saved: Tensor, out: Tensor, *, order: int) -> Tensor:
    """XA, or X times the signs of A, which is symmetric."""
    x = pixels.student
    if saved.numel():
        return torch.bmm(x, saved.sign() if order == 1 else saved, out=out)
    for rows, gap in _gap_by_rows(x, pixels.teacher()):
        out[..., rows] = x @ (gap.sign() if order == 1 else gap).mT
    return out


def _saved_shape(pixels: Pixels) -> tuple[int, ...]:
    _, channels, n = pixels.student.shape
    side = n if n <= channels + pixels.teacher().shape[1] else 0
    return side, side


def _gap_by_rows(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor]]:
    batch, _, n = x.shape
    height = max(BLOCK // (batch * n), 1)
    for start in range(0, n, height):
        rows = slice(start, start + height)
        yield rows, torch.baddbmm(x[..., rows].mT @ x, y[..., rows].mT, y, alpha=-1)
