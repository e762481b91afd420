"""The command faqd-train bench: measures, prints tables, writes JSON."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from faqd_train.benchmark.printing import render
from faqd_train.benchmark.running import FAST, PARTS, Plan
from faqd_train.benchmark.running import run as run_benchmark
from faqd_train.files import write_atomically
from faqd_train.networks.precision import find_device


def add_parser(commands: Any) -> None:
    """Add ``bench`` to the subparsers of a command."""
    text = "time the losses and a training step beside the released algorithms"
    bench = commands.add_parser(
        "bench", help=text, description=f"{text}; all of it takes some ten minutes on a CPU"
    )
    bench.add_argument(
        "settings",
        nargs="*",
        metavar="section.key=value",
        help=f"of our training step; already set: {' '.join(FAST)}",
    )
    bench.add_argument("--what", choices=(*PARTS, "all"), default="all", help="default: all")
    bench.add_argument("--device", default="cpu", help="cpu (default), cuda, …")
    bench.add_argument(
        "--repetitions", type=int, default=20, help="of each call, less where it is slow; def. 20"
    )
    bench.add_argument(
        "--memory", type=float, default=4.0, metavar="GB", help="for the released FA; default: 4"
    )
    bench.add_argument("--seed", type=int, default=0, help="of all draws; default: 0")
    bench.add_argument("--quick", action="store_true", help="small shapes, to see that all runs")
    bench.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    bench.set_defaults(call=run)


def run(options: argparse.Namespace) -> None:
    """Do what the options of ``faqd-train bench`` say; a bad one is refused before any timing."""
    for name, number in (("repetitions", options.repetitions), ("memory", options.memory)):
        if not 0 < number < float("inf"):
            raise ValueError(
                f"--{name} is {number}; a positive number is accepted: leave the option out for "
                f"the usual one."
            )
    if options.json is not None and not options.json.absolute().parent.is_dir():
        raise ValueError(
            f"--json is {options.json}, in a folder that does not exist; a file in one that does "
            f"is accepted: make the folder first."
        )
    plan = Plan(
        find_device(options.device),
        repetitions=options.repetitions,
        memory=options.memory * 1e9,
        seed=options.seed,
        quick=options.quick,
        settings=tuple(options.settings),
    )
    console = Console(highlight=False, markup=False)
    parts = PARTS if options.what == "all" else (options.what,)
    report = run_benchmark(plan, parts, show=lambda part: console.print(render(part)))
    if options.json is not None:
        content = json.dumps(asdict(report), indent=1, allow_nan=False)
        write_atomically(options.json, f"{content}\n".encode())
