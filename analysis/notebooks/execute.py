"""Run the notebooks headless; a cell that fails ends it.

python -m analysis.notebooks.execute --out build/notebooks
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
_SECONDS_PER_CELL = 120


def notebooks() -> list[Path]:
    """List the notebooks, kept as MyST Markdown."""
    return sorted(FOLDER.glob("*.md"))


def execute(path: Path) -> nbformat.NotebookNode:
    """Run a notebook in a fresh kernel of this Python; return it with its outputs.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell fails.
    """
    notebook = jupytext.read(path, fmt="md:myst")
    resources = {"metadata": {"path": str(FOLDER.parents[1])}}
    client = NotebookClient(notebook, timeout=_SECONDS_PER_CELL, resources=resources)
    return client.execute()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every notebook and write it with its outputs."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.notebooks.execute", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--out", type=Path, default=Path("build/notebooks"), help="folder to write")
    out = parser.parse_args(arguments).out
    out.mkdir(parents=True, exist_ok=True)
    for path in notebooks():
        nbformat.write(execute(path), out / f"{path.stem}.ipynb")
        sys.stdout.write(f"{out / path.stem}.ipynb\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
