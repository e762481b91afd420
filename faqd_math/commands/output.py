"""What the subcommands share: numbers as options, optional packages, progress, whole files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def require(package: str, *, extra: str) -> None:
    """Raise ValueError, naming the extra to install, where an optional package is missing."""
    try:
        import_module(package)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"this command needs {error.name}, which is not installed: pip install 'faqd[{extra}]'."
        ) from error


def add_number(command: Any, name: str, default: float, about: str) -> None:
    """Add an option for an integer, or a float where the default is one; say the default."""
    about = f"{about} (default: %(default)s)"
    command.add_argument(name, type=type(default), default=default, help=about)


def progress(items: Sequence[T], description: str) -> Iterable[T]:
    """Show a bar on the error stream, which leaves the report alone, while items are taken."""
    from rich.console import Console
    from rich.progress import track

    return track(items, description=description, console=Console(stderr=True), transient=True)


def write_whole(path: Path, text: str) -> None:
    """Write a file completely or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
