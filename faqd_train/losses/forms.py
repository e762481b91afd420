"""Feature affinity of unit pixels, in closed form: totals, and their gradient (§1, I4, I8, I9).

The forms take unit pixels x, y of shape (B, C, N) in the dtype that they compute in, and give
parts, of which totals (B,) are made, before the division by N², each with a verdict on its digits
(§5). The gradient by X is taken from x, y and the little that the total leaves: its core.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

# Entries of a block of rows of the affinity gap on the direct path: 8 MiB of float32.
CHUNK = 2**21
# What is promised of values that float32 gives, relatively; the others are left to float64.
ACCURACY = 1e-4
ROUNDOFF = 2.0**-24  # of float32
TERMS = 4096  # that Gram's products sum in float32


class Form(NamedTuple):
    """How a loss is computed: "gram" or "direct", or "projected" where there are probes."""

    name: str
    order: int
    one_sided: bool = False  # the gradient of the projected form, as in `affinity.ffa_loss`


class Totals(NamedTuple):
    """Of each sample, the total, whether its digits can be trusted, and what the slope needs."""

    values: Tensor  # (B,), float64
    trusted: Tensor  # (B,), bool
    core: Tensor  # gram: [XXᵀ, XYᵀ]; projected: AZ; direct: A, or nothing (B, 0, 0)


Parts = tuple[Tensor, ...]  # of each sample what its total is made of, the core first


def accumulation_dtype(device: torch.device) -> torch.dtype:
    """float64, in which maps of every dtype are exact; float32 where the device has no more."""
    return torch.float32 if device.type == "mps" else torch.float64


def cancellation(dtype: torch.dtype) -> float:
    """Share of ‖S_s‖² + ‖S_t‖² below which Gram has lost a quarter of the dtype's digits (§5)."""
    return torch.finfo(dtype).eps ** 0.25


def cheapest_form(n: int, c_student: int, c_teacher: int) -> str:
    """Name the exact form of order 2 with fewer multiply-adds (§4)."""
    of_gram = n * (c_student**2 + c_teacher**2 + c_student * c_teacher)
    return "gram" if of_gram <= n * n * (c_student + c_teacher) else "direct"


def keeps_gap(n: int, channels: int) -> bool:
    """Whether the direct path keeps A for its slope: where it is no larger than both maps."""
    return n <= channels


def parts(x: Tensor, y: Tensor, z: Tensor | None, form: Form) -> Parts:
    """Compute what the totals are made of; probes z are (N, k) or (B, N, k)."""
    if z is not None:
        return _projected(x, y, z.expand(len(x), -1, -1), form.order)
    if form.name == "gram":
        return torch.cat([_product(x, x), _product(x, y)], dim=-1), _product(y, y)
    return _direct(x, y, form.order)


def totals(parts: Parts, n: int, dtype: torch.dtype, form: Form) -> Totals:
    """Sum up Σ|A_ij|^order, or with probes its mean over them, of parts computed in the dtype."""
    if form.name == "gram":
        core, yy = parts
        return _gram_totals(core, yy, n, dtype)
    if form.name == "direct":
        core, values = parts
        return Totals(values, _is_clear(values, 2 * n**2, n**2, form.order, dtype), core)
    core, values, size = parts
    k, minuends = core.shape[-1], n * size  # as ‖XᵀXZ‖ <= √N·‖XZ‖
    return Totals(values / k, _is_clear(values, minuends, n * k, form.order, dtype), core)


def slope_reads_teacher(form: Form, core: Tensor) -> bool:
    """Whether `slope` looks at y; else it may be anything."""
    return form.name == "gram" or (form.name == "direct" and not core.numel())


def slope_factor(form: Form, core: Tensor) -> float:
    """Return by what `slope` has still to be multiplied."""
    if form.name != "projected":
        return 2 * form.order
    return (2 if form.one_sided else 1) * form.order / core.shape[-1]


def slope(
    x: Tensor, y: Tensor, z: Tensor | None, form: Form, core: Tensor, *, out: Tensor
) -> Tensor:
    """Put the totals' gradient by X, as if its pixels were free, over its factor into out."""
    if z is not None:
        # X V Zᵀ + X Z Vᵀ with V = AZ or its signs: two products of 2k columns.
        v = core.sign() if form.order == 1 else core
        if form.one_sided:  # X Z Vᵀ alone, whose factor is twice as large
            return torch.bmm(torch.bmm(x, z.expand_as(v)), v.mT, out=out)
        right = torch.cat([v, z.expand_as(v)], dim=-1)
        left = torch.bmm(x, right).roll(z.shape[-1], dims=-1)  # [XZ, XV]
        return torch.bmm(left, right.mT, out=out)
    if form.name == "gram":
        # XA = (XXᵀ)X − (XYᵀ)Y subtracts first powers of the gap.
        of_student, of_teacher = torch.split(core, [x.shape[1], y.shape[1]], dim=-1)
        torch.bmm(of_student, x, out=out)
        return torch.baddbmm(out, of_teacher, y, alpha=-1, out=out)
    if core.numel():  # A, which is symmetric
        return torch.bmm(x, core.sign() if form.order == 1 else core, out=out)
    for rows, gap in _gap_by_rows(x, y):
        out[..., rows] = x @ (gap.sign() if form.order == 1 else gap).mT
    return out


def spectrum(x: Tensor, y: Tensor) -> Tensor:
    """μ = ‖R J Rᵀ‖² = ‖R_s R_sᵀ − R_t R_tᵀ‖² with [X; Y]ᵀ = QR: no cancellation of squares (§5)."""
    r = torch.linalg.qr(torch.cat([x, y], dim=1).mT, mode="r").R
    r_student, r_teacher = torch.split(r, [x.shape[1], y.shape[1]], dim=-1)
    return squared_norm(r_student @ r_student.mT - r_teacher @ r_teacher.mT)


def squared_norm(matrices: Tensor) -> Tensor:
    """‖·‖_F² over the last two axes, accumulated in float64."""
    dtype = accumulation_dtype(matrices.device)
    return torch.linalg.vector_norm(matrices, dim=(-2, -1), dtype=dtype).square()


def _gram_totals(core: Tensor, yy: Tensor, n: int, dtype: torch.dtype) -> Totals:
    """μ = ‖XXᵀ‖² + ‖YYᵀ‖² − 2‖XYᵀ‖² (I4), which cancels as the maps agree."""
    xx, xy = torch.split(core, [core.shape[1], yy.shape[1]], dim=-1)
    size = squared_norm(xx) + squared_norm(yy)
    values = size - 2 * squared_norm(xy)
    share = cancellation(dtype)
    if dtype == torch.float32:
        # A sum of N terms is off by about √N·u (Higham & Mary 2019), relatively, and so are the
        # squares that cancel. The constants are by trial.
        share = (4 + min(n, TERMS) ** 0.5 / 5) * ROUNDOFF / ACCURACY
    return Totals(values, values >= share * size, core.to(dtype))


def _product(x: Tensor, y: Tensor) -> Tensor:
    """XYᵀ, whose sums over many pixels are continued in float64."""
    if x.shape[-1] <= TERMS:
        return x @ y.mT
    blocks = zip(torch.split(x, TERMS, dim=-1), torch.split(y, TERMS, dim=-1), strict=True)
    products = [(a @ b.mT).to(accumulation_dtype(x.device)) for a, b in blocks]
    return torch.stack(products).sum(0)


def _direct(x: Tensor, y: Tensor, order: int) -> Parts:
    """Compute A, kept where it is no larger than the maps, and Σ A_ij² or Σ |A_ij|."""
    if keeps_gap(x.shape[-1], x.shape[1] + y.shape[1]):
        gap = torch.baddbmm(x.mT @ x, y.mT, y, alpha=-1)
        return gap, _norm_power(gap, order)
    of_rows = [_norm_power(gap, order) for _, gap in _gap_by_rows(x, y)]
    return x.new_empty(len(x), 0, 0), torch.stack(of_rows).sum(0)


def _projected(x: Tensor, y: Tensor, z: Tensor, order: int) -> Parts:
    """Compute AZ = Xᵀ(XZ) − Yᵀ(YZ) (§1), Σ ‖Az‖² or Σ ‖Az‖₁, ‖XZ‖² + ‖YZ‖²."""
    xz, yz = torch.bmm(x, z), torch.bmm(y, z)
    az = torch.baddbmm(torch.bmm(x.mT, xz), y.mT, yz, alpha=-1)
    return az, _norm_power(az, order), squared_norm(xz) + squared_norm(yz)


def _gap_by_rows(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor]]:
    batch, _, n = x.shape
    height = max(CHUNK // (batch * n), 1)
    for start in range(0, n, height):
        rows = slice(start, start + height)
        yield rows, torch.baddbmm(x[..., rows].mT @ x, y[..., rows].mT, y, alpha=-1)


def _norm_power(matrices: Tensor, order: int) -> Tensor:
    if order == 2:
        return squared_norm(matrices)
    dtype = accumulation_dtype(matrices.device)
    return torch.linalg.vector_norm(matrices, ord=1, dim=(-2, -1), dtype=dtype)


def _is_clear(
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
