"""``faqd-math verify``: check the claims, and report."""

from __future__ import annotations

import argparse
import json
import shlex
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from faqd_math.claims import CLAIMS, find_claim, verification_subjects, verify
from faqd_math.claims.feature_files import load_feature_pairs
from faqd_math.claims.standard_cases import standard_pairs, standard_weights
from faqd_math.commands.output import add_number, progress, require, write_whole

# Without and with --thorough: draws of each estimate, samples of each pair, pixels per side.
_FAST = {"replications": 2000, "samples": 4, "side": 8}
_THOROUGH = {"replications": 20_000, "samples": 16, "side": 14}


def add_verify(commands: Any) -> None:
    """Add the subcommand to an `argparse` parser's subparsers."""
    command = commands.add_parser("verify", help="check the claims, on captured maps or on others")
    command.add_argument("claims", nargs="*", metavar="ID", help="claims to check (default: all)")
    command.add_argument(
        "--features",
        type=Path,
        metavar="FILE.npz",
        help="pairs student.NAME, teacher.NAME of maps (B, C, H, W); without it, standard maps",
    )
    command.add_argument(
        "--thorough",
        action="store_true",
        help="ten times the draws, four times the samples, larger standard maps: finds smaller "
        "deviations, in a quarter of an hour",
    )
    command.add_argument("--samples", type=int, help="samples of each pair (default: 4, or 16)")
    command.add_argument(
        "--replications",
        type=int,
        help="draws of each estimate that is checked by replication (default: 2000, or 20000)",
    )
    add_number(command, "--k", 15, "probes")
    add_number(command, "--seed", 0, "of all probes")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    command.add_argument(
        "--html", type=Path, metavar="FILE", help="write it as one page with its figures, too"
    )
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    require("rich", extra="cli")
    from rich.console import Console

    from faqd_math.reports.document import report_record, summary, verdict_table
    from faqd_math.reports.provenance import provenance

    size = _THOROUGH if options.thorough else _FAST
    samples = size["samples"] if options.samples is None else options.samples
    replications = size["replications"] if options.replications is None else options.replications
    made = provenance(
        _command(options, samples, replications),
        seed=options.seed,
        k=options.k,
        replications=replications,
        samples=samples,
        features=options.features,
    )
    maps, weights, draws = np.random.default_rng(options.seed).spawn(3)
    pairs = (
        load_feature_pairs(options.features)
        if options.features
        else standard_pairs(maps, side=size["side"], batch=size["samples"])
    )
    subjects = verification_subjects(pairs, standard_weights(weights), samples)
    report = verify(
        [find_claim(name) for name in options.claims] or CLAIMS,
        subjects,
        rng=draws,
        replications=replications,
        k=options.k,
        among=CLAIMS,
        progress=partial(progress, description="checking claims"),
    )
    if options.json:
        write_whole(options.json, json.dumps(report_record(report, made), indent=1) + "\n")
    if options.html:
        require("jinja2", extra="cli")
        require("matplotlib", extra="analysis")
        from faqd_math.reports.page import report_page

        write_whole(options.html, report_page(report, subjects, made))
    console = Console()
    console.print(verdict_table(report))
    console.print(summary(report))
    return 1 if report.failing else 0


def _command(options: argparse.Namespace, samples: int, replications: int) -> str:
    """Write the command that makes the report again, with its settings in full."""
    words = ["faqd-math", "verify", *options.claims]
    words += ["--features", str(options.features)] if options.features else []
    words += ["--thorough"] if options.thorough else []
    numbers = {"samples": samples, "replications": replications, "k": options.k}
    for name, value in {**numbers, "seed": options.seed}.items():
        words += [f"--{name}", str(value)]
    return shlex.join(words)
