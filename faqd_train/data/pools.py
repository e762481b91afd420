"""What a reader of files gives: images that are decoded on demand, and their labels if any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]  # (N, C, H, W)
Labels = NDArray[np.int64]  # (N,)
Advance = Callable[[int], None]  # takes the number of images done since its last call


@dataclass(frozen=True)
class Pool:
    """Images of one origin, before they are split.

    ``write(indices, out, advance)`` decodes the images of some indices into an array
    (len(indices), C, H, W), so that a data set larger than memory can go to a mapped file.
    """

    count: int
    shape: tuple[int, int, int]  # C, H, W
    labels: Labels | None
    write: Callable[[NDArray[np.int64], Images, Advance], None]


@dataclass(frozen=True)
class Collection:
    """A data set as its files hold it."""

    train: Pool
    test: Pool | None  # None: a test split is taken out of train
    class_names: tuple[str, ...]
    files: tuple[Path, ...]  # all that was read, in the order of their hash


def array_pool(images: Images, labels: NDArray[np.integer] | None) -> Pool:
    """Make a pool of images that are already decoded."""

    def write(indices: NDArray[np.int64], out: Images, advance: Advance) -> None:
        for part in np.array_split(np.arange(len(indices)), max(1, len(indices) // 1000)):
            out[part] = images[indices[part]]
            advance(len(part))

    channels, height, width = images.shape[1:]
    whole = None if labels is None else np.asarray(labels, np.int64)
    return Pool(len(images), (channels, height, width), whole, write)


def checked_labels(values: object, count: int, classes: int, where: str) -> Labels:
    """Return labels as integers 0 … classes − 1, one per image, or refuse them (ValueError)."""
    labels = np.asarray(values)
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{where} holds {labels.size} labels of type {labels.dtype} for {count} images; one "
            f"integer per image is accepted: get the official file."
        )
    if count and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(
            f"{where} holds labels {labels.min()} to {labels.max()}; 0 to {classes - 1} are "
            f"accepted: get the official file."
        )
    return labels.astype(np.int64)
