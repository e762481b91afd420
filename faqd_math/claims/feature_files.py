"""Feature maps captured from trained networks, in NumPy's .npz format."""

from __future__ import annotations

import zipfile
import zlib
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faqd_math._validation import Array, check_pair

_SIDES = ("student.", "teacher.")


def load_feature_pairs(path: str | PathLike[str]) -> dict[str, tuple[Array, Array]]:
    """Read pairs of captured maps from a file with arrays student.NAME and teacher.NAME.

    Parameters
    ----------
    path : path
        An .npz file; for each NAME two floating arrays (B, C, H, W), of equal B. Other arrays
        are ignored. Pickled objects are refused, not run.

    Returns
    -------
    dict of name to (student, teacher)
        float64 batches, in the file's order.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError, TypeError
        If it is not an .npz file, holds no pair, an array without its partner, or bad maps.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not a file; an .npz file of captured feature maps is accepted: "
            f"capture one with faqd_train, or check the path."
        )
    arrays = _read_arrays(path)
    names = {side: [_name(key) for key in arrays if key.startswith(side)] for side in _SIDES}
    lone = set(names["student."]) ^ set(names["teacher."])
    if lone or not names["student."]:
        raise ValueError(
            f"{path} holds {', '.join(sorted(arrays)) or 'no arrays'}; pairs student.NAME and "
            f"teacher.NAME are accepted: save both maps of each tap."
        )
    return {
        name: check_pair(arrays[f"student.{name}"], arrays[f"teacher.{name}"])
        for name in names["student."]
    }


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path):
            pass
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path} cannot be read ({error}); an .npz file of plain numeric arrays is accepted: "
            f"write it with np.savez."
        ) from error


def _name(key: str) -> str:
    return key.partition(".")[2]
