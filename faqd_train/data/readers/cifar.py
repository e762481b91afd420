"""CIFAR-10 and CIFAR-100 as Krizhevsky published them: pickles in a folder or in its archive.

A pickle holds ``data`` (N, 3072) uint8, channel by channel and row by row, and its labels.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from faqd_train.data.pools import Collection, Images, Labels, Pool, array_pool, checked_labels
from faqd_train.data.readers.pickles import read_pickle


@dataclass(frozen=True)
class Layout:
    """Names in one of the two archives, and its checksum."""

    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: str
    labels: bytes
    label_names: bytes
    archive: str
    url: str
    sha256: str


CIFAR10 = Layout(
    folder="cifar-10-batches-py",
    train=tuple(f"data_batch_{number}" for number in range(1, 6)),
    test=("test_batch",),
    meta="batches.meta",
    labels=b"labels",
    label_names=b"label_names",
    archive="cifar-10-python.tar.gz",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
)
CIFAR100 = Layout(
    folder="cifar-100-python",
    train=("train",),
    test=("test",),
    meta="meta",
    labels=b"fine_labels",
    label_names=b"fine_label_names",
    archive="cifar-100-python.tar.gz",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
)

Read = Callable[[str], bytes]  # a file of the archive by its bare name


def find_cifar(layout: Layout, directory: Path) -> Path:
    """Return the folder of pickles, or the archive, in a directory that may be the folder."""
    for folder in (directory / layout.folder, directory):
        if any((folder / name).is_file() for name in (*layout.train, *layout.test, layout.meta)):
            return folder
    archive = directory / layout.archive
    if not archive.is_file():
        raise ValueError(
            f"{directory} holds neither {layout.folder} nor {layout.archive}; one of the two is "
            f"accepted: give the folder that holds it in data.dir."
        )
    return archive


def read_cifar(layout: Layout, path: Path) -> Collection:
    """Read a folder of pickles, or an archive of it, whole.

    Raises
    ------
    ValueError
        If a file is missing, damaged, or is not what the layout says.
    """
    names = (*layout.train, *layout.test, layout.meta)
    if path.is_dir():
        files = tuple(path / name for name in names)
        return _collect(layout, lambda name: _file(path / name), files, str(path))
    contents = _unpack(layout, path, names)
    return _collect(layout, contents.__getitem__, (path,), str(path))


def _collect(layout: Layout, read: Read, files: tuple[Path, ...], where: str) -> Collection:
    meta = read_pickle(read(layout.meta), f"{where}/{layout.meta}")
    names = _class_names(layout, meta, where)

    def pool(parts: Sequence[str]) -> Pool:
        batches = [
            _batch(read(part), layout.labels, len(names), f"{where}/{part}") for part in parts
        ]
        counts = {len(images) for images, _ in batches}
        expected = meta.get(b"num_cases_per_batch")  # CIFAR-10 alone has it
        if expected is not None and counts != {expected}:
            raise ValueError(
                f"{where} has a file of {min(counts)} images, and {layout.meta} says {expected} "
                f"per file; the whole official folder is accepted: get it anew."
            )
        images, labels = zip(*batches, strict=True)
        return array_pool(np.concatenate(images), np.concatenate(labels))

    return Collection(pool(layout.train), pool(layout.test), names, files)


def _class_names(layout: Layout, meta: dict[bytes, Any], where: str) -> tuple[str, ...]:
    names = meta.get(layout.label_names)
    if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
        raise ValueError(
            f"{where}/{layout.meta} has no list {layout.label_names.decode()}; the official file "
            f"is accepted: get it anew."
        )
    return tuple(name.decode("utf-8", "replace") for name in names)


def _batch(content: bytes, key: bytes, classes: int, where: str) -> tuple[Images, Labels]:
    batch = read_pickle(content, where)
    images = batch.get(b"data")
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 2:
        raise ValueError(f"{where} has no table of bytes named data; get the official file.")
    count, width = images.shape
    if count == 0 or width != 3072:
        raise ValueError(
            f"{where} holds {count} images of {width} bytes; at least one of 3072 bytes "
            f"(3 × 32 × 32) is accepted: get the official file."
        )
    if key not in batch:
        raise ValueError(f"{where} has no list {key.decode()}; get the official file.")
    return images.reshape(-1, 3, 32, 32), checked_labels(batch[key], count, classes, where)


def _file(path: Path) -> bytes:
    if not path.is_file():
        raise ValueError(f"{path} is missing; the whole official folder is needed: get it anew.")
    return path.read_bytes()


def _unpack(layout: Layout, path: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Read the named files of an archive into memory; nothing is extracted to disk."""
    contents = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                place = PurePosixPath(member.name)
                if place.parent.name == layout.folder and place.name in names:
                    file = archive.extractfile(member)
                    contents[place.name] = file.read() if file else b""
    except (tarfile.TarError, EOFError, OSError, zlib.error, KeyError):
        raise ValueError(
            f"{path} is not an intact archive; the official {layout.archive} is accepted: get it "
            f"anew."
        ) from None
    for name in names:
        if name not in contents:
            raise ValueError(
                f"{path} holds no {layout.folder}/{name}; get the official {layout.archive}."
            )
    return contents
