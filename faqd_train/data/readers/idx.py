"""Fashion-MNIST in the IDX files of LeCun's MNIST, plain or compressed by gzip.

An IDX file is a big-endian header (0, 0, type, number of axes, length of each axis) and bytes.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faqd_train.data.pools import Collection, Pool, array_pool, checked_labels

CLASS_NAMES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
_BYTES = 8  # the type code of unsigned bytes


def read_fashion_mnist(directory: Path) -> Collection:
    """Read the four files of a folder.

    Raises
    ------
    ValueError
        If one is missing, damaged, or does not fit its fellow.
    """
    paths = {
        (part, kind): _find(directory, f"{part}-{kind}")
        for part in ("train", "t10k")
        for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
    }

    def pool(part: str) -> Pool:
        images = read_idx(paths[part, "images-idx3-ubyte"], axes=3)
        where = paths[part, "labels-idx1-ubyte"]
        labels = checked_labels(read_idx(where, axes=1), len(images), len(CLASS_NAMES), str(where))
        return array_pool(images[:, None], labels)

    return Collection(pool("train"), pool("t10k"), CLASS_NAMES, tuple(paths.values()))


def read_idx(path: Path, axes: int) -> NDArray[np.uint8]:
    """Return the array of unsigned bytes that an IDX file holds.

    Raises
    ------
    ValueError
        If it is not such a file, has other axes, or is cut off.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, OSError, zlib.error):
        raise ValueError(f"{path} is not an intact gzip file; get the official file.") from None
    start = 4 * (1 + axes)
    if len(content) < start or tuple(content[:4]) != (0, 0, _BYTES, axes):
        raise ValueError(
            f"{path} is not an IDX file of bytes with {axes} axes; get the official file."
        )
    shape = [int(length) for length in np.frombuffer(content[4:start], ">u4")]
    if math.prod(shape) != len(content) - start or 0 in shape:
        raise ValueError(
            f"{path} holds {len(content) - start} bytes for the shape {tuple(shape)}; get the "
            f"official file."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _find(directory: Path, name: str) -> Path:
    for path in (directory / name, directory / f"{name}.gz"):
        if path.is_file():
            return path
    raise ValueError(
        f"{directory} holds neither {name} nor {name}.gz; the folder with Fashion-MNIST's four "
        f"files is accepted: give it in data.dir."
    )
