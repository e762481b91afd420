"""Finished runs and claim reports become records.

python -m analysis.records.collect runs runs/digits/*/
python -m analysis.records.collect claims report.json --name standard --command "faqd-math verify"
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.records.identity import file_name
from analysis.records.run_records import read_run, run_record
from analysis.records.store import FOLDER, Made, load, seal, write


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


def add_claims(
    report: Path, name: str, command: str, to: Path = FOLDER, *, replace: bool = False
) -> Path:
    """Turn the report of ``faqd-math verify --json`` into a record; return its path.

    Of each claim's checks it keeps the hardest, and how many there were.
    """
    full = json.loads(report.read_text("utf-8"))
    claims = [
        {**claim, "checks": len(claim["checks"]), "check": _hardest(claim)}
        for claim in full["claims"]
    ]
    options = _verify_options(command)
    made = Made(
        command,
        seeds=[full.get("seed", options.seed)],
        k=[full.get("k", options.k)],
        replications=full.get("replications", options.replications),
    )
    record = seal("claims", {**full, "claims": claims}, made)
    return write(to / "claims" / f"{name}.json", record, replace=replace)


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


def _verify_options(command: str) -> argparse.Namespace:
    """Read seed, k and replications from the command, with the defaults of faqd-math verify."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--k", type=int, default=15)
    parser.add_argument("--thorough", action="store_true")
    parser.add_argument("--replications", type=int)
    options, _ = parser.parse_known_args(shlex.split(command))
    if options.replications is None:
        options.replications = 20_000 if options.thorough else 2000
    return options


def _hardest(claim: Mapping[str, Any]) -> Mapping[str, Any]:
    return next(check for check in claim["checks"] if check["subject"] == claim["hardest"])


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
    claims.add_argument("--command", required=True, help="command that made the report")
    claims.set_defaults(
        add=lambda o: [add_claims(o.report, o.name, o.command, o.to, replace=o.replace)]
    )
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
