"""A prepared data set on disk: one file per split for images, one for labels, and cache.json.

Everything is written beside its place and moved in whole, so a folder that exists is complete.
Each file's SHA-256 is in cache.json, and each file is checked against it when it is opened.
Labels have files of their own: who reads images never opens them.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from faqd_train.data.pools import Collection
from faqd_train.data.source_state import source_state
from faqd_train.data.splits import Part, Split
from faqd_train.data.statistics import Statistics, pixel_statistics
from faqd_train.files import file_sha256, files_sha256

SCHEMA = 1
RECORD = "cache.json"
_MARGIN = 10**7  # bytes for labels and file headers, and for others who write meanwhile

Progress = Callable[[int, int], None]  # images done, images in all


class DamagedCacheError(Exception):
    """A file of the cache is not the one that was written; the message names it."""


@dataclass(frozen=True)
class CacheRecord:
    """What cache.json holds."""

    schema: int
    origin: str  # folder or archive that was read
    origin_sha256: str
    class_names: tuple[str, ...]
    statistics: Statistics  # of the training split
    shapes: Mapping[str, tuple[int, ...]]  # of each file
    sha256: Mapping[str, str]
    # State of the files that were read; a cache without it is older, and never out of date.
    source: Mapping[str, str] = field(default_factory=dict)


def file_name(split: Split, kind: str) -> str:
    """Name the file of a split's ``images`` or ``labels``."""
    return f"{split}_{kind}.npy"


def build_cache(
    folder: Path,
    collection: Collection,
    parts: Mapping[Split, Part],
    origin: Path,
    progress: Progress | None = None,
) -> None:
    """Decode a data set into a folder, which appears when all of it is there.

    Parameters
    ----------
    folder : Path
        The cache; one that is already there is replaced. Its lock is held (`locked`).
    collection, parts : Collection, dict
        The data set and its splits.
    origin : Path
        Where it was read; absolute.
    progress : callable, optional
        Told how many images are done, and how many there are.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
    _check_space(folder.parent, parts)
    source = source_state(origin, collection.files)  # before decoding, which takes its time
    partial.mkdir(parents=True)
    try:
        _write_parts(partial, parts, progress)
        _write_record(partial, collection, origin, source)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def locked(folder: Path) -> FileLock:
    """Return the lock that a process holds while it checks or builds a cache."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.with_name(f".{folder.name}.lock"))


def read_record(folder: Path) -> CacheRecord:
    """Read cache.json.

    Raises
    ------
    DamagedCacheError
        If it is missing, altered or of another version.
    """
    path = folder / RECORD
    try:
        content = json.loads(path.read_bytes())
        body, digest = content["record"], content["sha256"]
        intact = digest == _digest(body) and body["schema"] == SCHEMA
    except (OSError, ValueError, KeyError, TypeError):
        intact = False
    if not intact:
        raise DamagedCacheError(f"{path} is missing, altered or of another version")
    return CacheRecord(
        **{
            **body,
            "class_names": tuple(body["class_names"]),
            "statistics": Statistics(
                **{name: tuple(values) for name, values in body["statistics"].items()}
            ),
            "shapes": {name: tuple(shape) for name, shape in body["shapes"].items()},
        }
    )


def read_array(folder: Path, record: CacheRecord, name: str) -> NDArray[Any]:
    """Map one file into memory, after its SHA-256 is found to be the recorded one.

    Raises
    ------
    DamagedCacheError
        If it is missing or altered.
    """
    path = folder / name
    if not path.is_file():
        raise DamagedCacheError(f"{path} is missing")
    if file_sha256(path) != record.sha256[name]:
        raise DamagedCacheError(f"{path} is altered (its SHA-256 is not the recorded one)")
    # Copy on write: PyTorch shares only writable memory, and the file must not change.
    return np.load(path, mmap_mode="c", allow_pickle=False)


def _check_space(folder: Path, parts: Mapping[Split, Part]) -> None:
    """Refuse a disk that is too full (ValueError): a mapped file that outgrows it ends Python."""
    needed = sum(len(part.indices) * math.prod(part.pool.shape) for part in parts.values())
    free = shutil.disk_usage(folder).free
    if free < needed + _MARGIN:
        raise ValueError(
            f"{folder} has {free / 1e9:.2f} GB free, and the decoded images take "
            f"{needed / 1e9:.2f} GB; make room, or choose another folder in data.cache."
        )


def _write_parts(folder: Path, parts: Mapping[Split, Part], progress: Progress | None) -> None:
    total, done = sum(len(part.indices) for part in parts.values()), 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress:
            progress(done, total)

    for split, part in parts.items():
        out = np.lib.format.open_memmap(
            folder / file_name(split, "images"),
            mode="w+",
            dtype=np.uint8,
            shape=(len(part.indices), *part.pool.shape),
        )
        part.pool.write(part.indices, out, advance)
        out.flush()
        if part.pool.labels is not None:
            np.save(folder / file_name(split, "labels"), part.pool.labels[part.indices])


def _write_record(
    folder: Path, collection: Collection, origin: Path, source: Mapping[str, str]
) -> None:
    arrays = {path.name: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}
    body = asdict(
        CacheRecord(
            schema=SCHEMA,
            origin=str(origin),
            origin_sha256=files_sha256(collection.files),
            class_names=collection.class_names,
            statistics=pixel_statistics(arrays[file_name("train", "images")]),
            shapes={name: array.shape for name, array in arrays.items()},
            sha256={name: file_sha256(folder / name) for name in arrays},
            source=source,
        )
    )
    text = json.dumps({"sha256": _digest(body), "record": body}, indent=1)
    (folder / RECORD).write_text(text + "\n", "utf-8")
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
