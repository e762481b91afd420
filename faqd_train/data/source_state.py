"""The state of a data set's files, known by names, sizes and times: no file is opened.

A cache keeps the state of its source, so that a source that has changed since is noticed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image


def source_state(origin: Path, files: Sequence[Path]) -> dict[str, str]:
    """Return the state of files, by paths relative to the folder or archive they are read from.

    Where each image is a file, this is a state of every folder down to them, in which added,
    removed and altered images show; of other files it is a state of each.

    Parameters
    ----------
    origin : Path
        The folder or archive.
    files : sequence of Path
        All that is read, below ``origin`` or ``origin`` itself.
    """
    holders = {file.parent for file in files if _is_image(file.name)}
    paths = {file for file in files if not _is_image(file.name)}
    paths |= {
        folder
        for holder in holders
        for folder in (holder, *holder.parents)
        if folder.is_relative_to(origin)
    }
    states = {path.relative_to(origin).as_posix(): _state(path) for path in sorted(paths)}
    return {name: state for name, state in states.items() if state is not None}


def has_changed(origin: Path, states: Mapping[str, str]) -> bool:
    """Return whether what is still there is in another state than the recorded one.

    What has vanished does not count as a change: raw files may be deleted once they are in a cache.
    """
    return any(_state(origin / name) not in (None, state) for name, state in states.items())


def _state(path: Path) -> str | None:
    """Return None for what is gone, out of reach, or an empty folder, such as a mount point."""
    try:
        if path.is_dir():
            lines = sorted(_entries(path))
            return hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else None
        return _size_and_time(path.stat())
    except OSError:
        return None


def _entries(folder: Path) -> Iterator[str]:
    """Yield a folder's visible sub-folders by name, its images also with size and time."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield f"{entry.name}/"
            elif _is_image(entry.name):
                yield f"{entry.name} {_size_and_time(entry.stat())}"


def _size_and_time(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns}"


def _is_image(name: str) -> bool:
    return f".{name.rpartition('.')[2].lower()}" in Image.registered_extensions()
