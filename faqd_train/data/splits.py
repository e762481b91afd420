"""Which images of a data set are for training, validation and testing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from faqd_train.data.pools import Collection, Pool

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

_SPLIT_SEED = 2023


@dataclass(frozen=True)
class Part:
    """The images of one split: some of a pool, in a fixed order."""

    pool: Pool
    indices: NDArray[np.int64]


def split_collection(collection: Collection, held_out: int | None) -> dict[Split, Part]:
    """Hold a validation split out of train, and a test split where the files bring none.

    Parameters
    ----------
    collection : Collection
        The data set.
    held_out : int or None
        Images of the validation split; None takes a tenth. A test split that is taken out of
        train is as large.

    Returns
    -------
    dict
        The three parts, disjoint. The order within train and validation is random and always
        the same: its generator is local, its seed fixed, and no label is looked at.

    Raises
    ------
    ValueError
        If nothing would be left to train on.
    """
    total = collection.train.count
    held_out = max(1, total // 10) if held_out is None else held_out
    missing_test = collection.test is None
    if (1 + missing_test) * held_out >= total:
        raise ValueError(
            f"data.held_out is {held_out} of {total} images; fewer than "
            f"{'half of them' if missing_test else 'all of them'} is accepted: lower data.held_out."
        )
    generator = torch.Generator().manual_seed(_SPLIT_SEED)
    order = torch.randperm(total, generator=generator).numpy()
    parts: dict[Split, Part] = {"validation": Part(collection.train, order[:held_out])}
    if collection.test is None:
        parts["test"] = Part(collection.train, order[held_out : 2 * held_out])
    else:
        parts["test"] = Part(collection.test, np.arange(collection.test.count))
    parts["train"] = Part(collection.train, order[(1 + missing_test) * held_out :])
    return parts
