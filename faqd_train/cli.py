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

from faqd_train.commands.bench import add_bench_command, run_bench_command
from faqd_train.commands.configs import add_configs_command, run_configs_command
from faqd_train.commands.data import add_data_command, run_data_command
from faqd_train.commands.grid import add_grid_command, run_grid_command
from faqd_train.commands.import_network import add_import_command, run_import_command
from faqd_train.config.files import load_config, packaged_configs
from faqd_train.config.schema import Config
from faqd_train.networks.precision import find_device
from faqd_train.runs.load import evaluate, load_run
from faqd_train.runs.run import run_experiment
from faqd_train.training.distributed import is_main
from faqd_train.training.divergence import TrainingDiverged
from faqd_train.training.signals import Interrupted
from faqd_train.training.state import Epoch

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
        if options.command == "data":
            run_data_command(options)
        elif options.command == "grid":
            return run_grid_command(options)
        elif options.command == "bench":
            run_bench_command(options)
        elif options.command == "configs":
            run_configs_command(options)
        elif options.command == "import":
            run_import_command(options)
        elif options.command == "evaluate":
            _evaluate(options)
        else:
            _train(options)
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
    return 0


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
    for name, text in (
        ("teacher", "train a network with labels alone"),
        ("distill", "train a network by the configuration's objective"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument(
            "config", help=f"{', '.join(packaged_configs())}, or a path that ends in .toml"
        )
        command.add_argument(
            "settings",
            nargs="*",
            metavar="section.key=value",
            help="change a setting, or take a part, such as bits=4w4a (see faqd-train configs)",
        )
        command.add_argument("--out", type=Path, required=True, help="folder of the run")
        command.add_argument("--overwrite", action="store_true", help="replace the run there")
        command.add_argument(
            "--resume", action="store_true", help="go on from the run's checkpoint, if it has one"
        )
        command.add_argument("--device", default="cpu", help="cpu (default), cuda, …")
        if name == "distill":
            command.add_argument("--teacher", type=Path, help="folder of the teacher's run")
    command = commands.add_parser("evaluate", help="test a finished run again")
    command.add_argument("run", type=Path, help="folder of the run")
    command.add_argument("--split", choices=("train", "validation", "test"), default="test")
    command.add_argument("--weights", choices=("last", "best"), default="last")
    command.add_argument("--device", default="cpu", help="cpu (default), cuda, …")
    add_data_command(commands)
    add_import_command(commands)
    add_grid_command(commands)
    add_configs_command(commands)
    add_bench_command(commands)
    for command in commands.choices.values():
        command.add_argument("--threads", type=_positive, help="CPU threads (default: torch's)")
    return parser


def _train(options: argparse.Namespace) -> None:
    config = load_config(options.config, options.settings)
    if options.command == "teacher" and config.objective.needs_teacher:
        raise ValueError(
            "the configuration needs a teacher itself (by objective.kd or objective.fa); set both "
            "to none, as method=supervised does, or use faqd-train distill."
        )
    teacher = getattr(options, "teacher", None)
    with _progress(config) as advance:
        record = run_experiment(
            config,
            options.out,
            teacher=teacher,
            overwrite=options.overwrite,
            resume=options.resume,
            device=options.device,
            on_epoch=advance,
        )
    if not is_main():
        return
    shares = (record[f"{split}_accuracy"] for split in ("validation", "test"))
    validation, test = ("unknown" if share is None else f"{share:.2%}" for share in shares)
    print(f"accuracy: validation {validation}, test {test}; the run is in {options.out}")


def _evaluate(options: argparse.Namespace) -> None:
    run = load_run(options.run, options.weights)
    network = run.network.to(find_device(options.device))
    share = evaluate(network, run.config, options.split)
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
        *columns, console=console, transient=True, disable=not (console.is_terminal and is_main())
    ) as bar:
        task = bar.add_task("", total=config.optimizer.epochs, loss=float("nan"), accuracy=0.0)

        def advance(epoch: Epoch) -> None:
            accuracy = epoch.validation_accuracy or 0.0
            bar.update(task, completed=epoch.epoch, loss=epoch.loss, accuracy=accuracy)

        yield advance


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
