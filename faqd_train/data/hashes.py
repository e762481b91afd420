"""SHA-256 of tensors and of files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor


def fingerprint(tensor: Tensor) -> str:
    """SHA-256 of a tensor's type, shape and bytes: of a data set or of an epoch's order."""
    array = tensor.cpu().contiguous().numpy()
    digest = hashlib.sha256(f"{array.dtype}{array.shape}".encode())
    digest.update(array.data)
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of one file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_sha256(files: Sequence[Path]) -> str:
    """SHA-256 of many files: of the lines "digest  name", as sha256sum prints them.

    Names are relative to the innermost folder that holds all files.
    """
    root = os.path.commonpath([path.parent for path in files])
    lines = (f"{file_sha256(path)}  {path.relative_to(root).as_posix()}\n" for path in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
