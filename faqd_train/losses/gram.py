"""FA of order 2 from C×C matrices, O(NC²): ‖A‖² = ‖XXᵀ‖² + ‖YYᵀ‖² − 2‖XYᵀ‖² (I4), gradient by I8.

The squares cancel as the maps agree: ‖A‖² is off by some u·s, s = ‖S_s‖² + ‖S_t‖².
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from faqd_train.losses import forms
from faqd_train.losses.forms import Form, Measured, Pixels, joined, power_sum

TERMS = 4096  # products sum so many terms in float32


def gram() -> Form:
    """Return the form; it saves [XXᵀ, XYᵀ]."""
    return Form(_measure, _slope, 4, _saved_shape, _spectrum)


def _measure(pieces: Iterable[Pixels]) -> Measured:
    products = []
    for pixels in pieces:
        x, y = pixels.student, pixels.teacher()
        products.append((torch.cat([_product(x, x), _product(x, y)], dim=-1), _product(y, y)))
    saved, yy = joined(products)
    xx, xy = torch.split(saved, [x.shape[1], y.shape[1]], dim=-1)
    size = power_sum(xx) + power_sum(yy)
    values = size - 2 * power_sum(xy)
    return Measured(values, values >= smallest_share(x) * size, saved.to(x.dtype))


def _slope(pixels: Pixels, saved: Tensor, out: Tensor) -> Tensor:
    """XA = (XXᵀ)X − (XYᵀ)Y, which subtracts first powers of the gap."""
    x, y = pixels.student, pixels.teacher()
    xx, xy = torch.split(saved, [x.shape[1], y.shape[1]], dim=-1)
    torch.bmm(xx, x, out=out)
    return torch.baddbmm(out, xy, y, alpha=-1, out=out)


def _saved_shape(pixels: Pixels) -> tuple[int, ...]:
    channels = pixels.student.shape[1]
    return channels, channels + pixels.teacher().shape[1]


def smallest_share(x: Tensor) -> float:
    """Return the share of s below which ‖A‖² has lost its digits (§5).

    In float32 more than 1e-4 of it: a sum of N terms is off by about √N·u (Higham & Mary 2019),
    relatively, and so are the squares that cancel; the constants are by trial. In float64 a quarter
    of the digits.
    """
    if x.dtype == torch.float32:
        return (4 + min(x.shape[-1], TERMS) ** 0.5 / 5) * forms.ROUNDOFF / forms.ACCURACY
    return torch.finfo(x.dtype).eps ** 0.25


def _spectrum(x: Tensor, y: Tensor) -> Tensor:
    """‖A‖² = ‖R_s R_sᵀ − R_t R_tᵀ‖² with [X; Y]ᵀ = Q[R_s, R_t]: no squares cancel (§5)."""
    r = torch.linalg.qr(torch.cat([x, y], dim=1).mT, mode="r").R
    r_student, r_teacher = torch.split(r, [x.shape[1], y.shape[1]], dim=-1)
    return power_sum(r_student @ r_student.mT - r_teacher @ r_teacher.mT)


def _product(x: Tensor, y: Tensor) -> Tensor:
    """XYᵀ, whose sums over many pixels are continued in float64."""
    if x.shape[-1] <= TERMS:
        return x @ y.mT
    blocks = zip(torch.split(x, TERMS, dim=-1), torch.split(y, TERMS, dim=-1), strict=True)
    products = [(a @ b.mT).to(forms.accumulation_dtype(x.device)) for a, b in blocks]
    return torch.stack(products).sum(0)
