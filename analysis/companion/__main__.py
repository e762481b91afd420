"""Build the companion: run the notebooks, make the pages, and let Sphinx lay them out.

python -m analysis.companion --out build/companion
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from sphinx.cmd.build import main as sphinx_build

from analysis.companion.pages import claims_page, reproduce_page, with_references
from analysis.notebooks.execute import execute, notebooks
from analysis.products.build import FOLDER
from analysis.products.catalogue import PRODUCTS, load_records
from analysis.products.claims import RECORD as CLAIMS_RECORD
from analysis.products.manifest import ROOT, read_manifest
from faqd_math.claims import CLAIMS

HERE = Path(__file__).parent


def lay_out(source: Path) -> None:
    """Write all that Sphinx reads."""
    records = load_records()
    for page in HERE.glob("*.md"):
        shutil.copy(page, source)
    mathematics = (ROOT / "faqd_math" / "mathematics.md").read_text("utf-8")
    (source / "mathematics.md").write_text(with_references(mathematics), "utf-8")
    (source / "claims.md").write_text(claims_page(CLAIMS, records[CLAIMS_RECORD]), "utf-8")
    shutil.copytree(FOLDER, source / "figures", ignore=shutil.ignore_patterns("*.json", "README*"))
    reproduce = reproduce_page(PRODUCTS, read_manifest(FOLDER), records)
    (source / "reproduce.md").write_text(reproduce, "utf-8")
    (source / "notebooks").mkdir()
    for path in notebooks():
        notebook = described(execute(path))
        nbformat.write(notebook, source / "notebooks" / f"{path.stem}.ipynb")


def described(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Lead from tables to claims, and put alternative texts where MyST-NB looks for them."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if table := output.get("data", {}).get("text/markdown"):
                output["data"]["text/markdown"] = with_references(table)
            if text := output.get("metadata", {}).get("image/png", {}).get("alt"):
                cell.metadata["mystnb"] = {"image": {"alt": text}}
    return notebook


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the site; a warning fails it."""
    parser = argparse.ArgumentParser(prog="python -m analysis.companion", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--out", type=Path, default=Path("build/companion"), help="folder to write")
    out = parser.parse_args(arguments).out
    with TemporaryDirectory() as folder:
        # MyST-NB leaves a folder beside the site: both are made here, and the site is copied.
        source, trees, site = (Path(folder, name) for name in ("source", "trees", "site"))
        source.mkdir()
        lay_out(source)
        strict = ["--fail-on-warning", "--keep-going", "--quiet"]
        settings = ["-b", "html", "-c", str(HERE), "-d", str(trees)]
        status = sphinx_build([*strict, *settings, str(source), str(site)])
        if status == 0:
            shutil.copytree(site, out, dirs_exist_ok=True)
    if status == 0:
        sys.stdout.write(f"{out / 'index.html'}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
