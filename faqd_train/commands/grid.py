"""The commands faqd-train grid and configs: what there is to run, and running all of it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table

from faqd_train.files import write_atomically
from faqd_train.grids.expand import GridRun, load_grid
from faqd_train.grids.files import packaged_grids
from faqd_train.grids.run import Outcome, command_list, outcomes_so_far, run_grid
from faqd_train.networks.precision import find_device

_COLUMNS = ("run", "seeds", "validation", "test", "state")


def add_parser(commands: Any) -> None:
    """Add ``grid`` to the subparsers of a command."""
    text = "train a grid of runs; again, it goes on where it was"
    grid = commands.add_parser("grid", help=text, description=text)
    grid.add_argument(
        "grid", help=f"{', '.join(packaged_grids())}, a path to a .toml, or config,config,…"
    )
    grid.add_argument(
        "settings", nargs="*", metavar="section.key=a,b,…", help="one run for each combination"
    )
    grid.add_argument("--out", type=Path, required=True, help="folder of the runs' folders")
    grid.add_argument("--teacher", help="configuration to train, or folder of a finished run")
    grid.add_argument(
        "--jobs", type=int, help="runs at once, in processes; -1: one a CPU (default: one)"
    )
    grid.add_argument(
        "--together",
        type=int,
        default=1,
        metavar="N",
        help="students that share their teacher's passes, in each process (default: 1)",
    )
    grid.add_argument("--device", default="cpu", help="cpu (default), cuda, …")
    grid.add_argument(
        "--json", type=Path, metavar="FILE", help="write the results there too, run by run"
    )
    instead = grid.add_mutually_exclusive_group()
    instead.add_argument("--dry-run", action="store_true", help="show the runs, train nothing")
    instead.add_argument(
        "--list", type=Path, metavar="FILE", help="write the commands there, train nothing"
    )
    grid.set_defaults(call=run)


def run(options: argparse.Namespace) -> int:
    """Do what the options of ``faqd-train grid`` say; return 1 if a run diverged, or else 0."""
    console = Console(markup=False, highlight=False)  # brackets in a name are no markup
    runs = load_grid(options.grid, options.settings, out=options.out, teacher=options.teacher)
    outcomes = outcomes_so_far(runs)

    def keep() -> None:
        if options.json is not None:
            listed = [_plain(outcome) for outcome in outcomes.values()]
            _write(options.json, json.dumps(listed, indent=1) + "\n")

    def tell(outcome: Outcome) -> None:
        outcomes[outcome.run.folder] = outcome
        console.print(_line(outcome), soft_wrap=True)
        keep()

    if options.list is not None:
        _write_list(options, list(outcomes.values()), console)
    elif options.dry_run:
        for outcome in outcomes.values():
            command = outcome.run.command(options.device)
            console.print(f"{outcome.state:<11}  {command}", soft_wrap=True)
    else:
        find_device(options.device)
        run_grid(
            runs,
            jobs=options.jobs,
            together=options.together,
            device=options.device,
            on_outcome=tell,
        )
        console.print(summary_table(list(outcomes.values())))
    keep()
    return int(any(outcome.state in ("diverged", "blocked") for outcome in outcomes.values()))


def summary_table(outcomes: Sequence[Outcome]) -> Table:
    """Lay out one row for runs that differ in their seed alone, with mean ± standard deviation."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(_without_seed(outcome.run), []).append(outcome)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in _COLUMNS:
        side: JustifyMethod = "left" if column in ("run", "state") else "right"
        table.add_column(column, justify=side, overflow="fold")
    for name, group in groups.items():
        records = [outcome.record for outcome in group if outcome.record is not None]
        states = sorted({outcome.state for outcome in group})
        table.add_row(
            name,
            str(len(records)),
            *(
                _percent([record[key] for record in records])
                for key in ("validation_accuracy", "test_accuracy")
            ),
            ", ".join(states),
        )
    return table


def _write_list(options: argparse.Namespace, outcomes: Sequence[Outcome], console: Console) -> None:
    commands, sizes = command_list(outcomes, device=options.device)
    _write(options.list, "".join(f"{command}\n" for command in commands))
    console.print(f"{len(commands)} commands are in {options.list}, one per line.", soft_wrap=True)
    first = 1
    for size in sizes:
        after = f", once lines 1-{first - 1} are done" if first > 1 else ""
        console.print(f"Lines {first}-{first + size - 1} may run side by side{after}.")
        first += size


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())


def _line(outcome: Outcome) -> str:
    """Say in one line how a run ended."""
    if outcome.record is None:
        return f"{outcome.run.name}: {outcome.state}: {outcome.reason}"
    record = outcome.record
    took = timedelta(seconds=round(record["seconds"]))
    return (
        f"{outcome.run.name}: validation {_percent([record['validation_accuracy']])}, "
        f"test {_percent([record['test_accuracy']])}, {took}"
    )


def _without_seed(run: GridRun) -> str:
    return run.name.replace(f"-seed={run.config.run.seed}", "")


def _percent(shares: Sequence[float | None]) -> str:
    """Give mean ± standard deviation of what is known; images without labels have no accuracy."""
    known = [share for share in shares if share is not None]
    if not known:
        return "–"
    spread = f" ± {stdev(known):.2%}" if len(known) > 1 else ""
    return f"{mean(known):.2%}{spread}"


def _plain(outcome: Outcome) -> dict[str, Any]:
    """Return what ``--json`` gives for a run."""
    run, teacher = outcome.run, outcome.run.teacher
    return {
        "name": run.name,
        "config": run.config_name,
        "settings": list(run.settings),
        "teacher": None if teacher is None else teacher.name,
        "state": outcome.state,
        "reason": outcome.reason,
        "record": outcome.record,  # as in the run's run.json
    }
