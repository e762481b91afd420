"""Report on runs of your own: accuracies, training curves and the runs side by side.

python -m analysis.report runs/fa runs/kd --out report
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl

from analysis.products.accuracy import ACCURACY
from analysis.products.comparison import COMPARISON
from analysis.products.training_curves import curves_of
from analysis.records.run_records import read_run, run_record
from analysis.records.store import Record
from analysis.rendering.product import Product, make


def report(folders: Sequence[Path], out: Path) -> list[Path]:
    """Write the report on finished runs; return its files.

    Parameters
    ----------
    folders : sequence of Path
        Folders of the runs, of any data sets.
    out : Path
        Folder to write: ``accuracy`` (Markdown, CSV, LaTeX), ``training-curves-DATA`` (PNG, PDF,
        CSV) for each data set, and ``comparison`` (Markdown, CSV, LaTeX).

    Raises
    ------
    ValueError
        If a folder holds no finished run, or two folders have the same name.
    """
    records = {f"runs/{folder.resolve().name}": run_record(read_run(folder)) for folder in folders}
    if len(records) < len(folders):
        raise ValueError(
            f"{len(folders)} folders came with {len(records)} different names; one name for each "
            f"run is accepted: rename the folders or leave one out."
        )
    wanted: list[tuple[Product, dict[str, Record]]] = [
        (replace(ACCURACY, note=None), records),
        (COMPARISON, records),
    ]
    for data in sorted({record.result["data"] for record in records.values()}):
        chosen = {name: r for name, r in records.items() if r.result["data"] == data}
        if any(record.result["epochs"] for record in chosen.values()):
            wanted.append((replace(curves_of(data, data), needs="runs/*"), chosen))
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for product, of in wanted:
        for suffix, content in make(product, of).items():
            path = out / f"{product.name}.{suffix}"
            path.write_bytes(content)
            written.append(path)
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """Report on the runs that the command line names; print the files."""
    parser = argparse.ArgumentParser(prog="python -m analysis.report", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="of a finished run")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    options = parser.parse_args(arguments)
    mpl.use("Agg")
    try:
        paths = report(options.runs, options.out)
    except ValueError as error:
        parser.error(str(error))
    sys.stdout.write("".join(f"{path}\n" for path in paths))
    return 0


if __name__ == "__main__":
    sys.exit(main())
