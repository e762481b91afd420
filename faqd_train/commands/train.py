"""``faqd-train teacher`` and ``faqd-train distill``: one training into a run folder."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from faqd_train.config.files import load_config, packaged_configs
from faqd_train.config.schema import Config
from faqd_train.runs.run import run_experiment
from faqd_train.training.distributed import is_main
from faqd_train.training.state import Epoch


def add_parser(commands: Any) -> None:
    """Add ``teacher`` and ``distill`` to the commands of a parser."""
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
        command.set_defaults(call=run)


def run(options: argparse.Namespace) -> None:
    """Train, and print how good the network is."""
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
