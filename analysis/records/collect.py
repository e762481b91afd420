"""Finished runs and claim reports become records.

python -m analysis.records.collect runs runs/digits/*/
python -m analysis.records.collect claims report.json --name standard
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.records.identity import file_name
from analysis.records.provenance import Origin, current_origin
from analysis.records.run_records import read_run, run_record
from analysis.records.store import FOLDER, Made, load, seal, write

# What a report of claims says of how it was made.
_MADE = (
    "command", "seeds", "k", "replications", "features_sha256", "version", "revision", "dirty",
)  # fmt: skip


def add_run(folder: Path, to: Path = FOLDER, *, replace: bool = False) -> Path:
    """Turn a finished run's folder into a record; return its path.

    Raises
    ------
    ValueError
        If the folder holds no finished run, or the record exists with other content and must not
        be replaced.
    """
    run = read_run(folder)
    return write(to / "runs" / file_name(run), run_record(run), replace=replace)


def add_claims(report: Path, name: str, to: Path = FOLDER, *, replace: bool = False) -> Path:
    """Turn the report of ``faqd-math verify --json`` into a record; return its path.

    Of each claim's checks it keeps the hardest, and how many there were.

    Raises
    ------
    ValueError
        If the report does not say how it was made, or the record must not be replaced.
    """
    full = json.loads(report.read_text("utf-8"))
    if missing := set(_MADE) - set(full):
        raise ValueError(
            f"{report} lacks {', '.join(sorted(missing))}; a report of faqd-math verify --json of "
            f"this version is accepted: make it again."
        )
    made = {key: full.pop(key) for key in _MADE}
    record = seal(
        "claims",
        full | {"claims": [_with_hardest(claim) for claim in full["claims"]]},
        Made(
            made["command"],
            seeds=made["seeds"],
            k=[made["k"]],
            replications=made["replications"],
            inputs={"features": sha} if (sha := made["features_sha256"]) else {},
            origin=Origin(
                made["version"], made["revision"], made["dirty"], current_origin().versions
            ),
        ),
    )
    return write(to / "claims" / f"{name}.json", record, replace=replace)


def _with_hardest(claim: Mapping[str, Any]) -> dict[str, Any]:
    hardest = next(check for check in claim["checks"] if check["subject"] == claim["hardest"])
    return {**claim, "checks": len(claim["checks"]), "check": hardest}


def renew(to: Path = FOLDER) -> list[Path]:
    """Write the records of runs in the schema of this version, and name them by it."""
    written = []
    for path in sorted((to / "runs").glob("*.json")):
        record = load(path)
        data = {"train_sha256": record.inputs["training images"]}
        run = {**record.result, "data": data}
        path.unlink()
        written.append(write(to / "runs" / file_name(run), run_record(run)))
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """Add what the command line names; print each record's path."""
    parser = argparse.ArgumentParser(prog="python -m analysis.records.collect", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(required=True)
    runs = commands.add_parser("runs", help="folders of finished runs")
    runs.add_argument("folders", nargs="+", type=Path)
    runs.set_defaults(add=lambda o: [add_run(f, o.to, replace=o.replace) for f in o.folders])
    claims = commands.add_parser("claims", help="a report of faqd-math verify --json")
    claims.add_argument("report", type=Path)
    claims.add_argument("--name", required=True, help="name of the record")
    claims.set_defaults(add=lambda o: [add_claims(o.report, o.name, o.to, replace=o.replace)])
    renewed = commands.add_parser("renew", help="rename records after a change of the settings")
    renewed.set_defaults(add=lambda o: renew(o.to))
    for command in (runs, claims, renewed):
        command.add_argument("--to", type=Path, default=FOLDER, help="folder of the records")
        command.add_argument(
            "--replace", action="store_true", help="replace records of other content"
        )
    options = parser.parse_args(arguments)
    try:
        for path in options.add(options):
            sys.stdout.write(f"{path}\n")
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
