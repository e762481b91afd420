"""Images and labels of a split, out of the cache, which is built when it is needed.

Labels have their own function and their own files: a run whose label weight is 0 never opens
those of the training split.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faqd_train.config.schema import DataConfig, DataName
from faqd_train.data.cache import (
    CacheRecord,
    DamagedCacheError,
    Progress,
    build_cache,
    file_name,
    locked,
    read_array,
    read_record,
)
from faqd_train.data.pools import Collection
from faqd_train.data.preparation import Preparation, preparation_of
from faqd_train.data.readers.digits import read_digits
from faqd_train.data.source_state import has_changed
from faqd_train.data.sources import SOURCES, Source, cache_root
from faqd_train.data.splits import Part, Split, split_collection
from faqd_train.data.statistics import pixel_statistics

T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Description:
    """What a network must know of its data."""

    channels: int
    side: int  # of the network's input, pixels
    classes: int


def load_images(data: DataConfig | DataName, split: Split) -> Tensor:
    """Return one split's images.

    Parameters
    ----------
    data : DataConfig or str
        Which data set and where it lies; a name stands for its default configuration.
    split : {"train", "validation", "test"}
        The part wanted. Nothing of the other two is read.

    Returns
    -------
    Tensor (N, C, H, W), uint8
        Mapped from the cache: it takes memory as it is read, and processes share it.

    Raises
    ------
    ValueError
        If the cache has to be built and a file of the data set is missing or bad.

    Examples
    --------
    >>> {split: tuple(load_images("digits", split).shape) for split in ("train", "test")}
    {'train': (1197, 1, 8, 8), 'test': (300, 1, 8, 8)}
    """
    config = _as_config(data)
    if config.name == "digits":
        return _digits_images(_digits_part(config, split))
    return torch.from_numpy(_open(config, file_name(split, "images")))


def load_labels(data: DataConfig | DataName, split: Split) -> Tensor:
    """Return one split's labels (N,), int64, in the order of `load_images`.

    Raises
    ------
    ValueError
        As `load_images`, if there are none, or if ``data.labels`` keeps those of train shut.
    """
    config = _as_config(data)
    if split == "train" and not config.labels:
        raise ValueError(
            "data.labels is false, so the training labels stay shut; set data.labels=true to "
            "read them."
        )
    if config.name == "digits":
        part = _digits_part(config, split)
        return torch.from_numpy(np.asarray(part.pool.labels)[part.indices])
    return torch.from_numpy(np.array(_open(config, file_name(split, "labels"))))


def has_labels(data: DataConfig | DataName, split: Split) -> bool:
    """Return whether a split has labels, without opening them."""
    config = _as_config(data)
    return config.name == "digits" or file_name(split, "labels") in load_record(config).shapes


def describe(data: DataConfig | DataName) -> Description:
    """Return what a network must know of its data; the files are read only if need be."""
    config = _as_config(data)
    source = SOURCES[config.name]
    if source.shape is None or source.classes is None:
        record = load_record(config)
        shape, classes = record.shapes[file_name("train", "images")][1:], len(record.class_names)
    else:
        shape, classes = source.shape, source.classes
    if (classes == 0) != (config.classes is not None):
        raise ValueError(
            f"data.classes is {config.classes}, and {config.dir} has {classes} classes; the "
            f"number of logits is accepted where images have no labels, and needed there: "
            f"{'set' if classes == 0 else 'drop'} data.classes."
        )
    return Description(shape[0], config.input_size or shape[-1], config.classes or classes)


def load_class_names(data: DataConfig | DataName) -> tuple[str, ...]:
    """Return the classes' names in the order of the labels; none if there are no labels."""
    config = _as_config(data)
    if config.name == "digits":
        return read_digits().class_names
    return load_record(config).class_names


def load_preparation(data: DataConfig | DataName) -> Preparation:
    """Return the preparation of a data set, with the statistics of its training split."""
    config = _as_config(data)
    if config.name == "digits":
        images = load_images(config, "train").numpy()
        return preparation_of(pixel_statistics(images), config)
    return preparation_of(load_record(config).statistics, config)


def load_record(config: DataConfig, progress: Progress | None = None) -> CacheRecord:
    """Return what cache.json holds, after building the cache if it is not there.

    A cache that is damaged, was made of another folder than ``data.dir``, or of files that have
    changed since, is built again, with a warning. It serves on when its files are deleted, and
    as it is where ``data.dir`` is not set.
    """
    return _read(config, lambda record: record, progress)


def cache_folder(config: DataConfig) -> Path:
    """Return where a configuration's cache lies.

    Data sets that have a name of their own are known by it, other folders by their path.
    """
    name = f"{config.name}-{_held_out(config) or 'tenth'}"
    if config.name == "folder" and config.dir is not None:
        path = hashlib.sha256(str(config.dir.resolve()).encode()).hexdigest()[:12]
        name = f"{name}-{config.size}-{path}"
    return cache_root(config) / name


def _open(config: DataConfig, name: str) -> NDArray[Any]:
    def read(record: CacheRecord) -> NDArray[Any]:
        if name not in record.shapes:
            raise ValueError(
                f"{record.origin} has no labels for what {name} would hold; a folder with class "
                f"sub-folders has: use one, or train without labels."
            )
        return read_array(cache_folder(config), record, name)

    return _read(config, read)


def _read(
    config: DataConfig, read: Callable[[CacheRecord], T], progress: Progress | None = None
) -> T:
    """Read from the cache, building it first if it is missing, damaged or out of date."""
    folder = cache_folder(config)
    with suppress(DamagedCacheError):  # without the lock, for a cache may be read-only
        return read(_current_record(config, folder))
    with locked(folder):
        try:
            return read(_current_record(config, folder))  # built by another process meanwhile
        except DamagedCacheError as damage:
            if folder.exists():
                logger.warning("%s; the cache is built again.", damage)
        _build(config, folder, progress)
        return read(read_record(folder))


def _build(config: DataConfig, folder: Path, progress: Progress | None) -> None:
    source = SOURCES[config.name]
    collection, origin = source.read(config)
    _check_known(source, collection, origin)
    parts = split_collection(collection, _held_out(config))
    build_cache(folder, collection, parts, origin, progress)


def _check_known(source: Source, collection: Collection, origin: Path) -> None:
    """Refuse files that are not the data set of this name (ValueError)."""
    found = (collection.train.shape, len(collection.class_names))
    known = (source.shape, source.classes)
    if source.shape is not None and found != known:
        raise ValueError(
            f"{origin} holds images of shape {found[0]} in {found[1]} classes; {known[0]} in "
            f"{known[1]} are those of this data set: give its official files in data.dir."
        )


def _current_record(config: DataConfig, folder: Path) -> CacheRecord:
    """Read cache.json, and refuse a cache of other files than ``data.dir`` has, if that is set."""
    record = read_record(folder)
    if config.dir is not None:
        origin = Path(record.origin)
        if not origin.is_relative_to(config.dir.resolve()):
            raise DamagedCacheError(f"{folder} was made of {origin}, not of {config.dir}")
        if has_changed(origin, record.source):
            raise DamagedCacheError(f"{origin} has changed since {folder} was made of it")
    return record


def _held_out(config: DataConfig) -> int | None:
    return SOURCES[config.name].held_out if config.held_out is None else config.held_out


def _as_config(data: DataConfig | DataName) -> DataConfig:
    return data if isinstance(data, DataConfig) else DataConfig(name=data)


def _digits_part(config: DataConfig, split: Split) -> Part:
    return split_collection(read_digits(), _held_out(config))[split]


def _digits_images(part: Part) -> Tensor:
    out = np.empty((len(part.indices), *part.pool.shape), np.uint8)
    part.pool.write(part.indices, out, lambda _: None)
    return torch.from_numpy(out)
