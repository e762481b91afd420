"""Images as one uint8 array, split once, normalised and augmented in batches.

Labels have their own function: a run whose label weight is 0 never calls it for the training
split, and the split itself is drawn without looking at them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Split = Literal["train", "validation", "test"]

_SPLIT_SEED = 2023


@dataclass(frozen=True)
class Source:
    """Where a data set's images and labels come from, and how many are held out."""

    images: Callable[[], Tensor]
    labels: Callable[[], Tensor]
    channels: int
    classes: int
    held_out: int  # images of the validation split, and as many of the test split


@cache
def _digits() -> tuple[Tensor, Tensor]:
    """1,797 images (1, 8, 8) of grey levels 0 … 16, and their labels."""
    from sklearn.datasets import load_digits  # a second to import, and for this data set alone

    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target.astype(np.int64)
    return torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels)


SOURCES = {
    # The embedded file holds both in one table; of a label-free run's labels nothing is passed on.
    "digits": Source(
        images=lambda: _digits()[0],
        labels=lambda: _digits()[1],
        channels=1,
        classes=10,
        held_out=300,
    ),
}


def load_images(name: str, split: Split) -> Tensor:
    """Return one split's images.

    Parameters
    ----------
    name : {"digits"}
        The handwritten digits of scikit-learn: 1,797 real images in a fixed random split of
        1,197 for training, 300 for validation and 300 for testing.
    split : {"train", "validation", "test"}
        The part wanted.

    Returns
    -------
    Tensor (N, C, H, W), uint8

    Examples
    --------
    >>> {split: tuple(load_images("digits", split).shape) for split in ("train", "test")}
    {'train': (1197, 1, 8, 8), 'test': (300, 1, 8, 8)}
    """
    images = SOURCES[name].images()
    return images[_members(name, len(images), split)]


def load_labels(name: str, split: Split) -> Tensor:
    """Return one split's labels (N,), int64, in the order of `load_images`."""
    labels = SOURCES[name].labels()
    return labels[_members(name, len(labels), split)]


def _members(name: str, total: int, split: Split) -> Tensor:
    """Return the indices of a split; its generator is local and its seed fixed."""
    order = torch.randperm(total, generator=torch.Generator().manual_seed(_SPLIT_SEED))
    held_out = SOURCES[name].held_out
    validation, test, train = torch.split(order, [held_out, held_out, total - 2 * held_out])
    return {"train": train, "validation": validation, "test": test}[split]


@dataclass(frozen=True)
class Preparation:
    """Turns a batch of uint8 images into a network's input, the same for teacher and student."""

    mean: Tensor  # (C, 1, 1), of the training split
    std: Tensor
    shift: int

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Normalise; with a generator, first translate each image at random."""
        if generator is not None and self.shift > 0:
            images = random_shift(images, self.shift, generator)
        return (images.float() - self.mean) / self.std


def make_preparation(train_images: Tensor, shift: int) -> Preparation:
    """Take mean and standard deviation of each channel from the training images themselves."""
    pixels = train_images.double().transpose(0, 1).flatten(1)
    mean, std = pixels.mean(1).float(), pixels.std(1).float()
    return Preparation(mean[:, None, None], std[:, None, None], shift)


def random_shift(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Translate each image (B, C, H, W) by −most … most pixels a side, padded by zeros."""
    count, _, height, width = images.shape
    offsets = torch.randint(2 * most + 1, (2, count, 1), generator=generator).to(images.device)
    rows = offsets[0] + torch.arange(height, device=images.device)
    columns = offsets[1] + torch.arange(width, device=images.device)
    padded = functional.pad(images, [most] * 4)
    sample = torch.arange(count, device=images.device)[:, None, None]
    # Indices around the channel axis come out first: (B, H, W, C).
    return padded[sample, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def fingerprint(tensor: Tensor) -> str:
    """SHA-256 of a tensor's type, shape and bytes: of a data set or of an epoch's order."""
    array = tensor.cpu().contiguous().numpy()
    header = f"{array.dtype}{array.shape}".encode()
    return hashlib.sha256(header + array.tobytes()).hexdigest()
