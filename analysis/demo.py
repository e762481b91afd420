"""FAQD in a few minutes: networks trained, claims checked on their maps, three pictures.

Run by ``make demo``; everything lands in runs/demo.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from analysis.products import training_curves
from analysis.records.identity import describe_run
from analysis.rendering.figures import style, to_bytes
from analysis.studies import affinities
from analysis.studies.probe_errors import DELTA, stage_errors
from analysis.studies.probe_errors_figures import draw_errors
from analysis.studies.study import Pairs
from faqd_math.claims import CLAIMS, Report, verification_subjects, verify
from faqd_math.claims.feature_files import load_feature_pairs
from faqd_math.claims.standard_cases import standard_weights
from faqd_math.reports.document import summary, verdict_table
from faqd_train import load_config, run_experiment
from faqd_train.runs.record import Record
from faqd_train.training.state import Epoch


@dataclass(frozen=True)
class DemoRun:
    """One run of the demo: its configuration and how the table calls it."""

    config: str
    name: str
    teacher: bool = True
    capture: bool = False


TEACHER = DemoRun("digits-teacher", "teacher", teacher=False)
STUDENTS = (
    DemoRun("digits-float", "float student", teacher=False),
    DemoRun("digits-qat", "QAT on labels", teacher=False),
    DemoRun("digits-kd", "KD alone"),
    DemoRun("digits-fa", "KD + FA", capture=True),
    DemoRun("digits-ffa", "KD + FFA, k = 15", capture=True),
)
SHOWN = "digits-fa"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return 1 if a claim fails."""
    parser = argparse.ArgumentParser(prog="python -m analysis.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="default: %(default)s")
    out = parser.parse_args(arguments).out
    return run_demo(out, Console())


def run_demo(
    out: Path, console: Console, *, overrides: Iterable[str] = (), replications: int = 2000
) -> int:
    """Train, verify and draw; return 1 if a claim fails.

    Parameters
    ----------
    out : Path
        Folder for the runs and the pictures; what it holds is replaced.
    console : Console
        Where progress and tables go.
    overrides : strings "section.key=value"
        Applied to every run's configuration.
    replications : int
        Draws of each estimate that is checked in probability.
    """
    console.print(
        "FAQD distils a full-precision teacher into a student of 4-bit weights and activations "
        "without labels: the student learns the teacher's logits (KD) and its feature affinity "
        "(FA), the cosines between all pixels of a feature map. FFA estimates FA by random "
        "probes.\n"
    )
    console.print(
        f"[bold]1. Training[/] on scikit-learn's 1,797 handwritten digits: a teacher and "
        f"{len(STUDENTS)} students."
    )
    records = _train(out, console, tuple(overrides))
    console.print(_accuracy_table(records))
    console.print(
        "One of the 300 test images is 0.3 points: the table shows that label-free distillation "
        "works here, not which of its terms is best.\n"
    )

    console.print("[bold]2. Checking[/] the theory on the maps of the student that FA trained.")
    after = load_feature_pairs(out / SHOWN / "features_after.npz")
    report = _verify(after, console, replications)
    console.print(verdict_table(report))
    console.print(f"{summary(report)}\n")

    console.print("[bold]3. Drawing.[/]")
    for path, meaning in _draw(out, records, after, replications).items():
        console.print(f"  {path}: {meaning}", soft_wrap=True)
    return 1 if report.failing else 0


def _train(out: Path, console: Console, overrides: tuple[str, ...]) -> dict[str, Record]:
    """Run every plan, the teacher first; records by configuration."""
    plans = (TEACHER, *STUDENTS)
    configs = {
        plan.config: load_config(
            plan.config, (*overrides, *(("run.capture=8",) if plan.capture else ()))
        )
        for plan in plans
    }
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeElapsedColumn(),
    )
    records = {}
    with Progress(*columns, console=console) as progress:
        for plan in plans:
            config = configs[plan.config]
            task = progress.add_task(f"{plan.name:<16}", total=config.optimizer.epochs)
            records[plan.config] = run_experiment(
                config,
                out / plan.config,
                teacher=out / TEACHER.config if plan.teacher else None,
                overwrite=True,
                on_epoch=partial(_advance, progress, task),
            )
    return records


def _advance(progress: Progress, task: TaskID, _: Epoch) -> None:
    progress.advance(task)


def _accuracy_table(records: dict[str, Record]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("network", "bits", "labels", "validation", "test"):
        table.add_column(heading, justify="right" if heading in ("validation", "test") else "left")
    for plan in (TEACHER, *STUDENTS):
        record = records[plan.config]
        words = describe_run(record)
        table.add_row(
            plan.name,
            words["bits"],
            "yes" if words["labels"] else "none",
            f"{100 * record['validation_accuracy']:.1f} %",
            f"{100 * record['test_accuracy']:.1f} %",
        )
    return table


def _verify(pairs: Pairs, console: Console, replications: int) -> Report:
    rng = np.random.default_rng(0)
    subjects = verification_subjects(pairs, standard_weights(rng))
    with Progress(TextColumn("  claims"), BarColumn(), MofNCompleteColumn(), console=console) as p:
        return verify(CLAIMS, subjects, rng=rng, replications=replications, progress=p.track)


def _draw(
    out: Path, records: dict[str, Record], after: Pairs, replications: int
) -> dict[Path, str]:
    """Write the pictures; return what each shows, by its path."""
    before = load_feature_pairs(out / SHOWN / "features_before.npz")
    rng = np.random.default_rng(0)
    errors = {
        tap: stage_errors(student, teacher, replications, rng)
        for tap, (student, teacher) in after.items()
    }
    groups = [(plan.name, [records[plan.config]]) for plan in (TEACHER, *STUDENTS)]
    about = "Digits, KD + FA"
    result = {
        "about": about,
        "delta": DELTA,
        "replications": replications,
        "stages": errors,
    }
    with style():
        drawn = {
            "affinity-maps.png": (
                affinities.draw(affinities.affinities(before, after, about)),
                "what FA compares, before and after training",
            ),
            "ffa-error.png": (
                draw_errors(result),
                "FFA's error against the number of probes, with its bounds",
            ),
            "training-curves.png": (
                training_curves.draw_groups(groups, "Digits"),
                "validation error and FA by epoch",
            ),
        }
    meanings = {}
    for name, (figure, meaning) in drawn.items():
        (out / name).write_bytes(to_bytes(figure, ["png"])["png"])
        meanings[out / name] = meaning
    return meanings


if __name__ == "__main__":
    sys.exit(main())
