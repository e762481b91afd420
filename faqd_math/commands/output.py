"""What the subcommands share: optional packages named when missing, files written whole."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path


def require(package: str, *, extra: str) -> None:
    """Raise ValueError, naming the extra to install, where an optional package is missing."""
    try:
        import_module(package)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"this command needs {error.name}, which is not installed: pip install 'faqd[{extra}]'."
        ) from error


def write_whole(path: Path, text: str) -> None:
    """Write a file completely or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
