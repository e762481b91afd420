"""Build the figures and tables from the records, and say where each comes from.

python -m analysis.build                 # all, into paper_figures
python -m analysis.build accuracy cost   # some
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import matplotlib as mpl

from analysis import results
from analysis.figures import (
    affinity_maps,
    cancellation,
    cost_against_resolution,
    drawing,
    effective_rank,
    error_against_probes,
    estimators,
    fixed_probes,
    gradient_noise,
    orders,
    quantizers,
    speed,
    tail_probability,
    training_curves,
)
from analysis.figures.drawing import STYLE, Picture, Records
from analysis.provenance import (
    MANIFEST,
    ROOT,
    code_files,
    code_sha256,
    differences,
    read_manifest,
    write_manifest,
)
from analysis.results import file_sha256
from analysis.tables import accuracy, rendering, theory
from analysis.tables import speed as speed_tables
from analysis.tables.rendering import Table

FOLDER = ROOT / "paper_figures"

PICTURES: tuple[Picture, ...] = (
    error_against_probes.PICTURE,
    tail_probability.PICTURE,
    cost_against_resolution.PICTURE,
    speed.PICTURE,
    gradient_noise.PICTURE,
    estimators.PICTURE,
    fixed_probes.PICTURE,
    orders.PICTURE,
    cancellation.PICTURE,
    quantizers.PICTURE,
    *training_curves.PICTURES,
    effective_rank.PICTURE,
    affinity_maps.PICTURE,
)
TABLES: tuple[Table, ...] = (accuracy.TABLE, *theory.TABLES, *speed_tables.TABLES)
PRODUCTS: Mapping[str, Picture | Table] = {
    product.name: product for product in (*PICTURES, *TABLES)
}


@dataclass(frozen=True)
class Needs:
    """What a product finds of the records it needs."""

    records: Records
    missing: list[str]


def needs_of(product: Picture | Table, records: Records) -> Needs:
    """Choose the records that a product needs, and name what no record matches."""
    found = {
        name: record
        for name, record in records.items()
        if any(fnmatchcase(name, pattern) for pattern in product.needs)
    }
    missing = [p for p in product.needs if not any(fnmatchcase(name, p) for name in found)]
    return Needs(found, missing)


def make(product: Picture | Table, records: Records) -> dict[str, bytes]:
    """Make a product's files, by suffix; where records are missing they say which."""
    needs = needs_of(product, records)
    if isinstance(product, Table):
        if needs.missing and not product.fills:
            return rendering.not_run(product.name, needs.missing)
        return rendering.to_files(product, needs.records)
    if needs.missing:
        rows = [{"figure": product.name, "state": "not run", "missing": m} for m in needs.missing]
        figure = drawing.not_run(product.name, needs.missing)
    else:
        rows, figure = product.rows(needs.records), product.draw(needs.records)
    return {**drawing.to_bytes(figure), "csv": rendering.to_csv(rows).encode()}


def provenance(product: Picture | Table, records: Records) -> dict[str, Any]:
    """Say what a product is made from."""
    needs = needs_of(product, records)
    source = Path(str(sys.modules[product.rows.__module__].__file__))
    makers = (source, Path(drawing.__file__), Path(rendering.__file__))
    files = sorted({*(file for maker in makers for file in code_files(maker)), STYLE})
    inputs = product.files if isinstance(product, Table) else ()
    return {
        "command": f"python -m analysis.build {product.name}",
        "records": {name: record.sha256 for name, record in needs.records.items()},
        "seeds": sorted({seed for record in needs.records.values() for seed in record.seeds}),
        "missing": needs.missing,
        "inputs": {path.relative_to(ROOT).as_posix(): file_sha256(path) for path in inputs},
        "code": code_sha256(files),
        "code_files": [path.relative_to(ROOT).as_posix() for path in files],
    }


def build(folder: Path, records: Records, names: Iterable[str] = tuple(PRODUCTS)) -> list[str]:
    """Write products and the manifest of all; return a sentence a product that lacks records."""
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
    parser = argparse.ArgumentParser(prog="python -m analysis.build", description=__doc__)
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
        records = results.load_all()
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
