"""FA and FFA on a device that the host should not wait for, such as CUDA.

Nothing depends on what the maps hold: no sample is chosen, no branch taken, so that a step can be
captured as one CUDA graph. All samples are computed in float64, with safe squares. What remains is
Gram's cancellation, u·(‖S_s‖² + ‖S_t‖²), u = 2⁻⁵³.
"""

from __future__ import annotations

import torch
from torch import Tensor

from faqd_train.losses.forms import Form, Pixels
from faqd_train.losses.pixels import Maps, by_features, float64_pixels


def is_static(device: torch.device) -> bool:
    """Whether this path is taken: on devices other than the CPU that have float64."""
    return device.type not in ("cpu", "mps")


def forward(maps: Maps, form: Form) -> tuple[Tensor, list[Tensor]]:
    """Compute the totals (B,), and what the form saves."""
    pixels, _ = _unit_pixels(maps)
    values, _, saved = form.measure([pixels])
    return values.clamp(min=0), [saved]


def backward(outer: Tensor, maps: Maps, form: Form, kept: list[Tensor], out: Tensor) -> None:
    """Put the gradient of Σ_b outer_b·total_b/factor by the student (I8, I9) into out (B, C, N)."""
    pixels, norms = _unit_pixels(maps)
    slope = form.slope(pixels, kept[0], torch.empty_like(pixels.student))
    by_features(slope, pixels.student, norms, outer, out)


def _unit_pixels(maps: Maps) -> tuple[Pixels, Tensor]:
    """Return the unit pixels, the teacher's when asked for, and the student's ‖F_i‖ (B, 1, N)."""
    x, norms = float64_pixels(maps.student)
    probes = maps.probes_of(slice(None), x)
    return Pixels(x, lambda: float64_pixels(maps.teacher)[0], probes), norms
