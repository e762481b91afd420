"""What the machine can do at best, measured: bytes copied and multiply-adds a second."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from faqd_train.benchmark.shapes import FLOAT_BYTES, Shape, Work, multiply_adds
from faqd_train.benchmark.timing import seconds

_REPETITIONS = 7


@dataclass(frozen=True)
class Limits:
    """The rates that bound every loss on this machine, in float32.

    Attributes
    ----------
    bytes_per_second : float
        Read and written, of a copy.
    multiply_adds_per_second : float
        Of a product of square matrices.
    """

    bytes_per_second: float
    multiply_adds_per_second: float

    def seconds(self, work: Work, shape: Shape) -> float:
        """Least time of a loss and its gradient: the longer one of moving and multiplying."""
        moving = shape.bytes_moved / self.bytes_per_second
        return max(moving, multiply_adds(work, shape) / self.multiply_adds_per_second)


def measure_limits(
    device: torch.device, *, entries: int = 2**25, side: int = 2048, repetitions: int = _REPETITIONS
) -> Limits:
    """Measure a machine's rates: the fastest of some repetitions, on memory that is there already.

    Parameters
    ----------
    device : torch.device
        Where.
    entries : int
        Of the tensor copied, 128 MiB by default: beyond the caches.
    side : int
        Of the matrices multiplied.
    repetitions : int
        Of each.
    """
    source, target = torch.ones(2, entries, device=device).unbind()
    left, product = torch.ones(2, side, side, device=device).unbind()
    copy = partial(target.copy_, source)
    multiply = partial(torch.mm, left, left, out=product)
    copying, multiplying = (
        min(seconds(call, device) for _ in range(repetitions)) for call in (copy, multiply)
    )
    return Limits(2 * FLOAT_BYTES * entries / copying, side**3 / multiplying)
