"""The feature maps that are timed, and what a loss of them has to read, write and compute."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

FLOAT_BYTES = 4
# N×N matrices of floats that autograd holds at the peak of released direct FA: the affinities of
# student and teacher and their gap; or, backward, the gap, its gradient and a temporary.
RELEASED_MATRICES = 3

Work = Literal["direct", "gram", "exact", "ffa"]


@dataclass(frozen=True)
class Shape:
    """A pair of float32 maps (batch, channels, side, side), student and teacher alike."""

    name: str
    batch: int
    channels: int
    side: int

    @property
    def pixels(self) -> int:
        """N = side²."""
        return self.side**2

    @property
    def map_bytes(self) -> int:
        """Bytes of one of the two maps."""
        return FLOAT_BYTES * self.batch * self.channels * self.pixels

    @property
    def bytes_moved(self) -> int:
        """Bytes that any loss and its gradient move: both maps in, the student's gradient out."""
        return 3 * self.map_bytes

    @property
    def released_bytes(self) -> int:
        """Bytes that released direct FA holds at its peak, beyond the maps."""
        return RELEASED_MATRICES * FLOAT_BYTES * self.batch * self.pixels**2


STAGES = (
    Shape("CIFAR stage 1", 100, 16, 32),
    Shape("CIFAR stage 2", 100, 32, 16),
    Shape("CIFAR stage 3", 100, 64, 8),
    Shape("Tiny ImageNet stage 1", 64, 64, 56),
    Shape("Tiny ImageNet stage 2", 64, 128, 28),
    Shape("Tiny ImageNet stage 3", 64, 256, 14),
    Shape("Tiny ImageNet stage 4", 64, 512, 7),
)
SWEEP = tuple(Shape("Sweep", 8, 64, side) for side in (8, 16, 28, 56, 112, 224))
GROWTH = tuple(Shape("Growth", 8, 64, side) for side in (16, 32, 64, 112, 160, 224))


def fitted(shape: Shape, memory: float) -> Shape:
    """Lower a shape's batch until released direct FA fits into so many bytes; at least 1 stays.

    Examples
    --------
    >>> fitted(Shape("large", 64, 64, 56), 4e9).batch
    33
    """
    most = int(memory // replace(shape, batch=1).released_bytes)
    return replace(shape, batch=max(1, min(shape.batch, most)))


def quick(shape: Shape) -> Shape:
    """Return a small stand-in: two samples of at most 16 pixels a side."""
    return replace(shape, batch=2, side=min(shape.side, 16))


def multiply_adds(work: Work, shape: Shape, k: int = 15) -> int:
    """Count the multiply-adds of a loss and its gradient in the student, for the whole batch (§4).

    Parameters
    ----------
    work : {"direct", "gram", "exact", "ffa"}
        direct: XᵀX, YᵀY, XA. gram: XXᵀ, YYᵀ, XYᵀ, (XXᵀ)X, (XYᵀ)Y. ffa: XZ, Xᵀ(XZ), those of Y,
        and XV, (XV)Zᵀ, (XZ)Vᵀ of the gradient. exact: the lesser of direct and gram.
    shape : Shape
        Of both maps.
    k : int
        Probes of ffa.

    Examples
    --------
    >>> one = Shape("one", 1, 2, 4)
    >>> [multiply_adds(work, one, k=1) for work in ("direct", "gram", "ffa")]
    [1536, 320, 224]
    """
    n, c = shape.pixels, shape.channels
    counts = {"direct": 3 * n * n * c, "gram": 5 * n * c * c, "ffa": 7 * n * c * k}
    counts["exact"] = min(counts["direct"], counts["gram"])
    return shape.batch * counts[work]
