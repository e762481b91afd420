"""Maps and their unit pixels x_i = F_i/‖F_i‖, 0 where F_i is; and back from their gradient."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# Squared pixel norms within 2^±these neither overflow nor lose digits.
SAFE_EXPONENTS = {torch.float32: 100, torch.float64: 900}


class Maps(NamedTuple):
    """What a loss is computed from: maps (B, C, N) of one size, and probes (N, k) or (B, N, k)."""

    student: Tensor
    teacher: Tensor
    probes: Tensor | None = None

    def probes_of(self, samples: slice | Tensor, x: Tensor) -> Tensor | None:
        """Return the probes (B, N, k) of some samples, in the dtype of their unit pixels x."""
        if self.probes is None:
            return None
        z = self.probes if self.probes.ndim == 2 else self.probes[samples]
        return z.to(x.dtype).expand(len(x), -1, -1)


def scaled_pixels(pixels: Tensor, buffer: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return x_i, in the buffer, 1/‖F_i‖ or 0, and for each sample whether they are exact."""
    x = buffer[: len(pixels)]
    wide = pixels.to(x.dtype)
    square = torch.mul(wide, wide, out=x).sum(1, keepdim=True)
    scale, limit = square.rsqrt(), 2.0 ** SAFE_EXPONENTS[x.dtype]
    smallest, largest = square.aminmax()
    if square.device.type == "cpu" and 1 / limit <= smallest.item() and largest.item() <= limit:
        safe = torch.ones(len(x), dtype=torch.bool)
    else:
        odd = ~((square >= 1 / limit) & (square <= limit))  # dead, tiny, huge or NaN
        scale.masked_fill_(odd, 0)
        dead = pixels.abs().amax(1, keepdim=True) == 0
        safe = ~(odd & ~dead).flatten(1).any(1)
    return torch.mul(wide, scale, out=x), scale, safe


def careful_pixels(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return x_i and ‖F_i‖ (B, 1, N), each pixel divided by its largest magnitude first.

    So neither overflow nor underflow of the squares can turn a live pixel into a dead or an
    infinite one. NaN stays NaN.
    """
    peak = torch.linalg.vector_norm(pixels, ord=torch.inf, dim=1, keepdim=True)
    unit = pixels / peak.masked_fill(peak == 0, 1)
    scaled_norm = torch.linalg.vector_norm(unit, dim=1, keepdim=True)
    unit /= scaled_norm.masked_fill(peak == 0, 1)
    return unit, peak * scaled_norm


def float64_pixels(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return x_i and ‖F_i‖ (B, 1, N) in float64, which holds the squares of other dtypes."""
    if pixels.dtype == torch.float64:
        return careful_pixels(pixels)
    norms = torch.linalg.vector_norm(pixels, dim=1, keepdim=True, dtype=torch.float64)
    return pixels / norms.masked_fill(norms == 0, 1), norms


def remove_radial(slope: Tensor, x: Tensor, work: Tensor) -> None:
    """Project each pixel's slope off x_i, along which the loss does not change; in place."""
    radial = torch.mul(x, slope, out=work).sum(1, keepdim=True)
    slope.addcmul_(x, radial, value=-1)


def by_features(
    slope: Tensor, x: Tensor, norms: Tensor, outer: Tensor, out: Tensor | None = None
) -> Tensor:
    """Turn a slope by X into the gradient by F, weighted by outer (B, 1, 1); overwrites it."""
    remove_radial(slope, x, torch.empty_like(x))
    dead = norms == 0
    # Where a norm is tiny, only the product with the incoming gradient is known to be in range.
    slope.masked_fill_(dead, 0).mul_(outer)
    return torch.div(slope, norms.masked_fill(dead, 1), out=out)
