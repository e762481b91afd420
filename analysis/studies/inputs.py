"""What studies start from: pairs of captured maps, and small pieces of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
# By tap, the student's maps and the teacher's, (B, C, H, W).
Pairs = Mapping[str, tuple[Array, Array]]


def crop(maps: Array, side: int) -> Array:
    """Return the central square of maps (…, H, W)."""
    top, left = ((size - side) // 2 for size in maps.shape[-2:])
    return maps[..., top : top + side, left : left + side]
