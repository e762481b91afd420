"""Files written whole or not at all, and SHA-256 of files and tensors."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor


def write_atomically(path: Path, content: bytes, *, keep: Path | None = None) -> None:
    """Write a file beside its place and move it in, so that no reader sees half of it.

    The file that was there is kept under another name, if one is given.
    """
    # One name for all processes: what a killed one left is written over.
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Let the renames in a folder outlive a power cut, where the system can be asked to."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows opens no folder
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that has no such call
            raise
    finally:
        os.close(descriptor)


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
