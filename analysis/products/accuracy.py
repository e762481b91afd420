"""Test accuracy of what was run, one row for each setting, and what of the design was not run."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from analysis.records.cells import Cell, cells
from analysis.records.store import Records
from analysis.rendering.product import Product
from analysis.rendering.tables import Row

PUBLISHED = Path(__file__).with_name("published.csv")
# The design of the paper's tables: method and whether labels are read.
DATA = ("cifar10", "cifar100", "tiny-imagenet")
STARTS = ("scratch", "fine-tuned")
BITS = ("1W", "2W", "4W", "1W4A", "2W4A", "4W4A")
_FAQD = ("FA", "FFA, k = 1", "FFA, k = 5", "FFA, k = 15")
METHODS = (
    ("supervised", True),
    ("KD", False),
    *((method, labels) for labels in (False, True) for method in _FAQD),
)


def rows(records: Records) -> list[Row]:
    """Give one row for each cell: what was run, mean, deviation, n, and what is published."""
    published = _published()
    answer: list[Row] = []
    for cell in cells(records):
        accuracies = _accuracies(cell)
        beside = published.get(_place(cell.words), {})
        answer.append(
            {
                **cell.words,
                "labels": "yes" if cell.words["labels"] else "no",
                "other": ", ".join(filter(None, ("a teacher" * cell.teaches, cell.other))),
                "teacher": _teacher(cell),
                "test_accuracy_mean": mean(accuracies) if accuracies else None,
                "test_accuracy_sd": stdev(accuracies) if len(accuracies) > 1 else None,
                "n": len(accuracies),
                "settings": cell.settings,
                "published": beside.get("accuracy"),
                "source": beside.get("source"),
                "table": beside.get("table"),
            }
        )
    return answer


def shown(records: Records) -> list[Row]:
    """Give the rows as read in print, in percent."""
    return [
        {
            **{key: row[key] for key in ("data", "network", "bits", "method", "labels", "start")},
            "epochs": row["epochs"],
            "other": row["other"],
            "teacher": "" if row["teacher"] is None else f"{100 * row['teacher']:.1f}",
            "test accuracy": describe_accuracy(_accuracies(cell), row["published"]),
        }
        for cell, row in zip(cells(records), rows(records), strict=True)
    ]


def describe_accuracy(accuracies: list[float], published: str | None = None) -> str:
    """Say mean, standard deviation and n in percent, and what is published in brackets.

    Examples
    --------
    >>> describe_accuracy([0.9, 0.92]), describe_accuracy([0.9]), describe_accuracy([])
    ('91.0 ± 1.4 (2)', '90.0 (1)', 'unknown')
    """
    text = "unknown"
    if accuracies:
        spread = f" ± {100 * stdev(accuracies):.1f}" if len(accuracies) > 1 else ""
        text = f"{100 * mean(accuracies):.1f}{spread} ({len(accuracies)})"
    return f"{text} [{published}]" if published else text


def not_run(records: Records) -> str:
    """Say in one line what of the paper's design no run has filled."""
    run = {_place(cell.words) for cell in cells(records)}
    design = [(*cell, *method) for *cell, method in product(DATA, STARTS, BITS, METHODS)]
    open_cells = [cell for cell in design if cell not in run]
    none_of = [data for data in DATA if not any(place[0] == data for place in run)]
    text = (
        f"Not run: {len(open_cells)} of the {len(design)} combinations of the paper's data sets, "
        f"starts, bit widths and methods"
    )
    return f"{text}; among them all of {' and '.join(none_of)}." if none_of else f"{text}."


def _accuracies(cell: Cell) -> list[float]:
    return [r["test_accuracy"] for r in cell.results if r["test_accuracy"] is not None]


def _teacher(cell: Cell) -> float | None:
    """Return the teacher's test accuracy."""
    teacher = cell.results[0].get("teacher")
    return teacher["test_accuracy"] if teacher else None


def _place(words: Mapping[str, Any]) -> tuple[object, ...]:
    return tuple(words[key] for key in ("data", "start", "bits", "method", "labels"))


def _published() -> dict[tuple[object, ...], dict[str, str]]:
    """Read the published figures; a method and what it reads of labels as in `METHODS`."""
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        return {
            _place(row | {"labels": row["labels"] == "yes"}): row for row in csv.DictReader(file)
        }


ACCURACY = Product(
    name="accuracy",
    needs="runs/*",
    text="Test accuracy in percent after the last epoch: mean ± standard deviation over seeds (n), "
    "published figures in brackets. Runs of a row differ in the seed alone. FA and FFA come with "
    "KD; other: further settings in which rows of equal words differ; teacher: its test accuracy.",
    rows=rows,
    shown=shown,
    note=not_run,
    inputs=(PUBLISHED,),
)
