"""The command ``faqd-math``: a thin layer over the Python functions that do the same."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from faqd_math.claims import CLAIMS, Verdict, cases_from_pairs, verify
from faqd_math.feature_files import load_feature_pairs
from faqd_math.standard_cases import standard_pairs


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code.

    0: every claim holds. 1: a claim fails. 2: the request cannot be carried out.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return _verify(options)
    except (OSError, TypeError, ValueError) as error:
        print(f"faqd-math: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="faqd-math", description="Validate the error estimates of feature affinity."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("verify", help="check every claim, on captured maps or on others")
    command.add_argument(
        "--features",
        type=Path,
        metavar="FILE.npz",
        help="pairs student.NAME, teacher.NAME of maps (B, C, H, W); without it, standard maps",
    )
    command.add_argument(
        "--samples", type=int, default=4, help="samples of each pair (default: %(default)s)"
    )
    command.add_argument(
        "--replications",
        type=int,
        default=2000,
        help="draws of each estimate that is checked by replication (default: %(default)s)",
    )
    command.add_argument("--k", type=int, default=15, help="probes (default: %(default)s)")
    command.add_argument("--seed", type=int, default=0, help="of all probes (default: %(default)s)")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the verdicts there too")
    return parser


def _verify(options: argparse.Namespace) -> int:
    try:
        from rich.console import Console
        from rich.progress import track

        from faqd_math.report import verdict_records, verdict_table
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the terminal report needs {error.name}, which is not installed: "
            f"pip install 'faqd[cli]'."
        ) from error
    rng = np.random.default_rng(options.seed)
    pairs = load_feature_pairs(options.features) if options.features else standard_pairs(rng)
    cases = cases_from_pairs(pairs, options.samples)
    console = Console()
    verdicts = list(
        track(
            verify(cases, rng=rng, replications=options.replications, k=options.k),
            total=len(CLAIMS),
            description="checking claims",
            console=Console(stderr=True),
            transient=True,
        )
    )
    if options.json:
        _write_whole(options.json, json.dumps(verdict_records(verdicts), indent=1) + "\n")
    console.print(verdict_table(verdicts))
    console.print(_summary(verdicts, len(cases)))
    return 0 if all(verdict.holds for verdict in verdicts) else 1


def _summary(verdicts: Sequence[Verdict], cases: int) -> str:
    failing = [verdict.claim.id for verdict in verdicts if not verdict.holds]
    where = f"on {cases} pairs of feature maps"
    if failing:
        return f"{len(failing)} of {len(verdicts)} claims fail {where}: {', '.join(failing)}."
    return f"All {len(verdicts)} claims hold {where}."


def _write_whole(path: Path, text: str) -> None:
    """Write a file completely or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


if __name__ == "__main__":
    sys.exit(main())
