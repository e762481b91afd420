"""Memory of exact FA on large maps, and how time and memory grow with the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch

from faqd_train.benchmark.loss_paths import gradient, relu_maps
from faqd_train.benchmark.peak_memory import peak_bytes
from faqd_train.benchmark.shapes import Shape
from faqd_train.benchmark.timing import Budget, interleaved
from faqd_train.losses import affinity as losses


@dataclass(frozen=True)
class Growth:
    """Exact FA, forward and backward, at growing maps.

    Attributes
    ----------
    shapes : list of Shape
        One batch and number of channels, growing sides.
    seconds : list of lists of float
        Wall times, for each shape those of all rounds.
    peak_bytes : list of int
        Held at the peak beyond the two maps; the gradient counts.
    """

    shapes: list[Shape]
    seconds: list[list[float]]
    peak_bytes: list[int]

    def added(self, index: int) -> float:
        """Bytes at the peak as a multiple of the two maps' bytes."""
        return self.peak_bytes[index] / (2 * self.shapes[index].map_bytes)


def measure_growth(
    shapes: Sequence[Shape],
    *,
    budget: Budget,
    device: torch.device,
    generator: torch.Generator,
) -> Growth:
    """Time exact FA (method "auto") at each shape, all shapes in turns, and measure its memory."""
    calls = [
        partial(gradient, losses.fa_loss, *relu_maps(shape, device=device, generator=generator))
        for shape in shapes
    ]
    peaks = [peak_bytes(call, device) for call in calls]
    times = interleaved(calls, budget, device=device, generator=generator)
    return Growth(list(shapes), times, peaks)
