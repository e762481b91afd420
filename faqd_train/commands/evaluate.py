"""``faqd-train evaluate``: a finished run, tested again."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from faqd_train.networks.precision import find_device
from faqd_train.runs.load import evaluate, load_run


def add_parser(commands: Any) -> None:
    """Add ``evaluate`` to the commands of a parser."""
    command = commands.add_parser("evaluate", help="test a finished run again")
    command.add_argument("run", type=Path, help="folder of the run")
    command.add_argument("--split", choices=("train", "validation", "test"), default="test")
    command.add_argument("--weights", choices=("last", "best"), default="last")
    command.add_argument("--device", default="cpu", help="cpu (default), cuda, …")
    command.set_defaults(call=run)


def run(options: argparse.Namespace) -> None:
    """Print the accuracy on one split."""
    run = load_run(options.run, options.weights)
    network = run.network.to(find_device(options.device))
    share = evaluate(network, run.config, options.split)
    print(f"accuracy: {options.split} {share:.2%}")
