"""FFA, O(NkC): A seen through probes Z as AZ = Xᵀ(XZ) − Yᵀ(YZ) (§1), gradient by I9 or its half."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor

from faqd_train.losses.forms import Form, Measured, Pixels, joined, keeps_digits, power_sum


def projected(order: int, *, one_sided: bool = False) -> Form:
    """Return the form of an order; it saves AZ. One-sided, half of the slope counts twice."""
    measure = partial(_measure, order=order)
    slope = _one_sided_slope if one_sided else partial(_slope, order=order)
    return Form(measure, slope, 2 * order if one_sided else order, _saved_shape)


def _measure(pieces: Iterable[Pixels], *, order: int) -> Measured:
    found = []
    for pixels in pieces:
        x, y, z = pixels.student, pixels.teacher(), _probes(pixels)
        xz, yz = torch.bmm(x, z), torch.bmm(y, z)
        az = torch.baddbmm(torch.bmm(x.mT, xz), y.mT, yz, alpha=-1)
        found.append((az, power_sum(az, order), power_sum(xz) + power_sum(yz)))
    az, values, size = joined(found)
    n, k = z.shape[1:]
    minuends = n * size  # as ‖XᵀXZ‖ <= √N·‖XZ‖
    return Measured(values, keeps_digits(values, minuends, n * k, order, x.dtype), az)


def _slope(pixels: Pixels, saved: Tensor, out: Tensor, *, order: int) -> Tensor:
    """X V Zᵀ + X Z Vᵀ with V = AZ or its signs: two products of 2k columns."""
    x, z = pixels.student, _probes(pixels)
    right = torch.cat([saved.sign() if order == 1 else saved, z], dim=-1)
    left = torch.bmm(x, right).roll(z.shape[-1], dims=-1)  # [XZ, XV]
    return torch.bmm(left, right.mT, out=out)


def _one_sided_slope(pixels: Pixels, saved: Tensor, out: Tensor) -> Tensor:
    """X Z (AZ)ᵀ."""
    return torch.bmm(torch.bmm(pixels.student, _probes(pixels)), saved.mT, out=out)


def _saved_shape(pixels: Pixels) -> tuple[int, ...]:
    return tuple(_probes(pixels).shape[-2:])


def _probes(pixels: Pixels) -> Tensor:
    assert pixels.probes is not None, "the projected form needs probes"
    return pixels.probes
