"""Build the figures and tables from the records, and say where each comes from.

python -m analysis.products.build                 # all, into paper_figures
python -m analysis.products.build accuracy cost   # some
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from analysis.products.catalogue import PRODUCTS, load_records
from analysis.products.manifest import (
    MANIFEST,
    ROOT,
    code_files,
    code_sha256,
    differences,
    read_manifest,
    write_manifest,
)
from analysis.records.store import Records, file_sha256
from analysis.rendering import product as rendering
from analysis.rendering.figures import STYLE
from analysis.rendering.product import Product, make

FOLDER = ROOT / "paper_figures"


def provenance(product: Product, records: Records) -> dict[str, Any]:
    """Say what a product is made from."""
    chosen = product.choose(records)
    makers = {Path(str(sys.modules[product.rows.__module__].__file__)), Path(rendering.__file__)}
    files = sorted({*(file for maker in makers for file in code_files(maker)), STYLE})
    return {
        "command": f"python -m analysis.products.build {product.name}",
        "records": {name: record.sha256 for name, record in chosen.items()},
        "seeds": sorted({seed for record in chosen.values() for seed in record.seeds}),
        "missing": [] if chosen else [product.needs],
        "inputs": {path.relative_to(ROOT).as_posix(): file_sha256(path) for path in product.inputs},
        "code": code_sha256(files),
        "code_files": [path.relative_to(ROOT).as_posix() for path in files],
    }


def build(folder: Path, records: Records, names: Iterable[str] = tuple(PRODUCTS)) -> list[str]:
    """Write products and the manifest of all; say in a sentence which of them lack records."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = set(names) == set(PRODUCTS) or not (folder / MANIFEST).exists()
    manifest = {} if whole else read_manifest(folder)["products"]
    sentences = []
    for name in names:
        product = PRODUCTS[name]
        written = {}
        for suffix, content in make(product, records).items():
            path = folder / f"{name}.{suffix}"
            path.write_bytes(content)
            written[path.name] = file_sha256(path)
        manifest[name] = {"files": written, **provenance(product, records)}
        if manifest[name]["missing"]:
            sentences.append(f"{name}: not run, no record {', '.join(manifest[name]['missing'])}")
    write_manifest(folder, manifest)
    return sentences


def stale(folder: Path, records: Records) -> list[str]:
    """Say which products are older than what they are made from, or are not as they were made."""
    current = {name: provenance(product, records) for name, product in PRODUCTS.items()}
    return differences(folder, current)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build what the command line names; say what lacks its records."""
    parser = argparse.ArgumentParser(prog="python -m analysis.products.build", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("names", nargs="*", metavar="NAME", help="of products; default: all")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write")
    parser.add_argument("--check", action="store_true", help="build nothing, say what is stale")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(PRODUCTS))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(PRODUCTS)}")
    mpl.use("Agg")
    try:
        records = load_records()
    except ValueError as error:
        parser.error(str(error))
    if options.check:
        sentences = stale(options.out, records)
    else:
        sentences = build(options.out, records, options.names or tuple(PRODUCTS))
    sys.stdout.write("".join(f"{sentence}\n" for sentence in sentences))
    return 1 if options.check and sentences else 0


if __name__ == "__main__":
    sys.exit(main())
