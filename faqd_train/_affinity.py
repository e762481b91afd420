"""Feature affinity of unit pixels: each path's total and its gradient, in closed form (I8, I9).

A path returns Σ-type totals (B,) before the division by N², and, if asked, their gradient
(B, C_s, N) with respect to X. Value and gradient share their products, so both are taken in one
pass and autograd records nothing of it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from faqd_train._validation import check_finite

Totals = tuple[Tensor, Tensor | None]

# Entries of a block of rows of the affinity gap on the direct path: 16 MiB of float64.
CHUNK = 2**21


def accumulation_dtype(device: torch.device) -> torch.dtype:
    """float64, in which maps of every dtype are exact; float32 where the device has no more."""
    return torch.float32 if device.type == "mps" else torch.float64


def cancellation(dtype: torch.dtype) -> float:
    """Share of ‖S_s‖² + ‖S_t‖² below which Gram has lost a quarter of the dtype's digits (§5)."""
    return torch.finfo(dtype).eps ** 0.25


def unit_pixels(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return x_i = F_i/‖F_i‖ as (B, C, N), 0 at dead pixels, and the norms ‖F_i‖ as (B, 1, N).

    Each pixel is first divided by its largest magnitude, so that neither overflow nor underflow
    of the squares can turn a live pixel into a dead or an infinite one. NaN stays NaN.
    """
    pixels = features.flatten(2)
    peak = torch.linalg.vector_norm(pixels, ord=torch.inf, dim=1, keepdim=True)
    unit = pixels / peak.masked_fill(peak == 0, 1)
    scaled_norm = torch.linalg.vector_norm(unit, dim=1, keepdim=True)
    unit /= scaled_norm.masked_fill(peak == 0, 1)
    return unit, peak * scaled_norm


def unit_pixel_pair(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return unit pixels of both at the student's size, and the student's pixel norms."""
    dtype = accumulation_dtype(student.device)
    student, teacher = (
        (maps if maps.ndim == 4 else maps.unsqueeze(0)).to(dtype) for maps in (student, teacher)
    )
    size = student.shape[2:]
    if teacher.shape[2:] != size:
        # Shrinking reads only some pixels: NaN in the others would not reach the result.
        check_finite(teacher, "teacher")
        teacher = interpolate(teacher, size=size, mode="bilinear", align_corners=True)
    x, norms = unit_pixels(student)
    y, _ = unit_pixels(teacher)
    return x, y, norms


def normalisation_pullback(gradient: Tensor, x: Tensor, norms: Tensor) -> tuple[Tensor, Tensor]:
    """Project G off each x_i, 0 at dead pixels; return it and the norms it is to be divided by.

    The division waits for backward: where a norm is tiny, only the product with the incoming
    gradient is known to be in range.
    """
    dead = norms == 0
    tangent = gradient - x * (x * gradient).sum(dim=1, keepdim=True)
    return tangent.masked_fill(dead, 0), norms.masked_fill(dead, 1)


def exact(x: Tensor, y: Tensor, *, order: int, method: str, with_gradient: bool) -> Totals:
    """Take the path of the given name; "auto" takes the one with fewer multiply-adds (§4)."""
    n, cs, ct = x.shape[2], x.shape[1], y.shape[1]
    gram_is_cheaper = n * (cs * cs + ct * ct + cs * ct) <= n * n * (cs + ct)
    if order == 1 or method == "direct" or (method == "auto" and not gram_is_cheaper):
        return direct(x, y, order=order, with_gradient=with_gradient)
    return gram(x, y, with_gradient=with_gradient)


def gram(x: Tensor, y: Tensor, *, with_gradient: bool) -> Totals:
    """μ = ‖XXᵀ‖² + ‖YYᵀ‖² − 2‖XYᵀ‖² (I4), by `spectrum` where that cancels; never negative."""
    xx, xy, yy = x @ x.mT, x @ y.mT, y @ y.mT
    size = squared_norm(xx) + squared_norm(yy)
    totals = size - 2 * squared_norm(xy)
    cancelled = totals < cancellation(x.dtype) * size
    if cancelled.any():
        totals[cancelled] = spectrum(x[cancelled], y[cancelled])
    # XA = (XXᵀ)X − (XYᵀ)Y subtracts first powers of the gap: what it loses is only √ of μ's loss.
    return totals, 4 * (xx @ x - xy @ y) if with_gradient else None


def spectrum(x: Tensor, y: Tensor) -> Tensor:
    """μ = ‖R J Rᵀ‖² = ‖R_s R_sᵀ − R_t R_tᵀ‖² with [X; Y]ᵀ = QR: no cancellation of squares (§5)."""
    r = torch.linalg.qr(torch.cat([x, y], dim=1).mT, mode="r").R
    r_student, r_teacher = r.split([x.shape[1], y.shape[1]], dim=-1)
    return squared_norm(r_student @ r_student.mT - r_teacher @ r_teacher.mT)


def direct(x: Tensor, y: Tensor, *, order: int, with_gradient: bool) -> Totals:
    """Σ A_ij² or Σ |A_ij| over blocks of rows of A, whose gradients are 4XA and 2X sign(A)."""
    batch, _, n = x.shape
    totals = x.new_zeros(batch)
    gradient = torch.empty_like(x) if with_gradient else None
    height = max(CHUNK // (batch * n), 1)
    for start in range(0, n, height):
        rows = slice(start, start + height)
        gap = x[..., rows].mT @ x - y[..., rows].mT @ y
        totals += gap.abs().sum(dim=(1, 2)) if order == 1 else squared_norm(gap)
        if gradient is not None:
            slope = 2 * gap.sign() if order == 1 else 4 * gap
            gradient[..., rows] = x @ slope.mT
    return totals, gradient


def projected(x: Tensor, y: Tensor, *, z: Tensor, order: int, with_gradient: bool) -> Totals:
    """Mean over the k probes of ‖Az‖² or ‖Az‖₁, with AZ = Xᵀ(XZ) − Yᵀ(YZ) (§1, I9)."""
    k = z.shape[-1]
    xz = x @ z
    az = x.mT @ xz - y.mT @ (y @ z)
    totals = (az.abs().sum(dim=(1, 2)) if order == 1 else squared_norm(az)) / k
    if not with_gradient:
        return totals, None
    v = az.sign() / 2 if order == 1 else az
    return totals, 2 / k * ((x @ v) @ z.mT + xz @ v.mT)


def squared_norm(matrices: Tensor) -> Tensor:
    """‖·‖_F² over the last two axes."""
    return matrices.square().sum(dim=(-2, -1))
