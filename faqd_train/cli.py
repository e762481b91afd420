"""The command faqd-train: a thin layer over `run_experiment`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from faqd_train.config import Config
from faqd_train.config_files import load_config, packaged_configs
from faqd_train.engine import Epoch, TrainingDiverged
from faqd_train.experiment import evaluate, load_run, run_experiment

BAD_INPUT = 2


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error here is said."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 2 after a one-line error."""
    options = _parser().parse_args(arguments)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    try:
        if options.command == "evaluate":
            _evaluate(options)
        else:
            _train(options)
    except (ValueError, OSError, TrainingDiverged) as error:
        print(f"faqd-train {options.command}: {error}", file=sys.stderr)
        return BAD_INPUT
    return 0


def _parser() -> _Parser:
    parser = _Parser(prog="faqd-train", description="Train, distill and evaluate networks.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("teacher", "train a network with labels alone"),
        ("distill", "train a network by the configuration's objective"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument(
            "config", help=f"{', '.join(packaged_configs())}, or a path that ends in .toml"
        )
        command.add_argument(
            "overrides", nargs="*", metavar="section.key=value", help="change a setting"
        )
        command.add_argument("--out", type=Path, required=True, help="folder of the run")
        command.add_argument("--overwrite", action="store_true", help="replace a finished run")
        if name == "distill":
            command.add_argument("--teacher", type=Path, help="folder of the teacher's run")
    command = commands.add_parser("evaluate", help="test a finished run again")
    command.add_argument("run", type=Path, help="folder of the run")
    command.add_argument("--split", choices=("train", "validation", "test"), default="test")
    for command in commands.choices.values():
        command.add_argument("--threads", type=_positive, help="CPU threads (default: torch's)")
    return parser


def _train(options: argparse.Namespace) -> None:
    config = load_config(options.config, options.overrides)
    if options.command == "teacher" and config.objective.needs_teacher:
        raise ValueError(
            "the configuration needs a teacher itself (objective.kd or objective.fa is positive); "
            "set both to 0, or use faqd-train distill."
        )
    teacher = getattr(options, "teacher", None)
    with _progress(config) as advance:
        record = run_experiment(
            config, options.out, teacher=teacher, overwrite=options.overwrite, on_epoch=advance
        )
    print(
        f"accuracy: validation {record['validation_accuracy']:.2%}, "
        f"test {record['test_accuracy']:.2%}; the run is in {options.out}"
    )


def _evaluate(options: argparse.Namespace) -> None:
    run = load_run(options.run)
    share = evaluate(run.network, run.config, options.split)
    print(f"accuracy: {options.split} {share:.2%}")


@contextmanager
def _progress(config: Config) -> Iterator[Callable[[Epoch], None]]:
    """Show a bar of epochs while training, if the error stream is a terminal."""
    columns = (
        TextColumn("epoch {task.completed}/{task.total}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.4f}  validation {task.fields[accuracy]:.2%}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=config.optimizer.epochs, loss=float("nan"), accuracy=0.0)

        def advance(epoch: Epoch) -> None:
            bar.update(task, advance=1, loss=epoch.loss, accuracy=epoch.validation_accuracy)

        yield advance


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return value


if __name__ == "__main__":
    sys.exit(main())
