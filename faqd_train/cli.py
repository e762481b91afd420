"""The command faqd-train: its parser and exit codes; `commands` has what each command does."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

import torch

from faqd_train.commands import bench, configs, data, evaluate, grid, import_network, train
from faqd_train.training.divergence import TrainingDiverged
from faqd_train.training.signals import Interrupted

COMMANDS = (train, evaluate, data, import_network, grid, configs, bench)
BAD_INPUT = 2
INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: the same command with --resume goes on


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error here is said."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code.

    0: done. 1: a run of a grid diverged. 2: a one-line error. 75: Ctrl-C or SIGTERM.
    """
    options = _parse(arguments)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    try:
        code: int | None = options.call(options)
    except (ValueError, OSError, TrainingDiverged, torch.OutOfMemoryError) as error:
        print(f"faqd-train {options.command}: {_in_one_line(str(error))}", file=sys.stderr)
        return BAD_INPUT
    except Interrupted as interruption:
        again = "again" if options.command == "grid" else "with --resume"
        print(
            f"faqd-train {options.command}: {interruption}; the state is saved: run the same "
            f"command {again} to go on.",
            file=sys.stderr,
        )
        return INTERRUPTED
    except KeyboardInterrupt:  # outside a training, or where other processes train
        print(f"faqd-train {options.command}: interrupted by Ctrl-C.", file=sys.stderr)
        return INTERRUPTED
    return code or 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command line; settings may stand before and after the options."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and ("settings" not in options or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.settings += rest
    return options


def _parser() -> _Parser:
    parser = _Parser(
        prog="faqd-train",
        description="Train, distill and evaluate networks.",
        epilog=f"Exit codes: 0; {BAD_INPUT} after an error, in one line; {INTERRUPTED} when "
        f"Ctrl-C or SIGTERM came and the state is saved: --resume goes on.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for module in COMMANDS:
        module.add_parser(commands)
    for command in commands.choices.values():
        command.add_argument("--threads", type=_positive, help="CPU threads (default: torch's)")
    return parser


def _in_one_line(text: str) -> str:
    """Escape what a terminal would not print, such as a line break in somebody's file name."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return value


if __name__ == "__main__":
    sys.exit(main())
