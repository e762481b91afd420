"""Test accuracy by data set, start, bits and method, beside float and published figures."""

from __future__ import annotations

import csv
from collections import defaultdict
from itertools import product
from pathlib import Path
from statistics import mean, stdev

from analysis.figures.drawing import Records, Row
from analysis.tables.rendering import NOT_RUN, Table

PUBLISHED = Path(__file__).parents[1] / "published.csv"
DATA = ("digits", "cifar10", "cifar100", "tiny-imagenet")
STARTS = ("scratch", "fine-tuned")
BITS = ("1W", "2W", "4W", "1W4A", "2W4A", "4W4A")
# Method and whether labels are read: QAT, KD, then FAQD without labels and with.
_FAQD = ("FA", "FFA, k = 1", "FFA, k = 5", "FFA, k = 15")
METHODS = (
    ("supervised", True),
    ("KD", False),
    *((method, labels) for labels in (False, True) for method in _FAQD),
)
Key = tuple[object, ...]
_FLOAT = ("scratch", "float", "supervised", True)
# Of a cell: epochs, and test accuracies by seed.
Cell = tuple[int | None, list[float]]
_NONE: Cell = (None, [])


def rows(records: Records) -> list[Row]:
    """Give one row a cell of the design, with n, the float counterpart and what is published."""
    found, published = by_cell(records), _published()
    answer: list[Row] = []
    for data, start, bits, (method, labels) in product(DATA, STARTS, BITS, METHODS):
        epochs, runs = found.get((data, start, bits, method, labels), _NONE)
        _, floats = found.get((data, *_FLOAT), _NONE)
        told = published.get((data, start, bits, method, labels), {})
        answer.append(
            {
                "data": data,
                "start": start,
                "bits": bits,
                "method": method,
                "labels": "yes" if labels else "no",
                "test_accuracy_mean": mean(runs) if runs else NOT_RUN,
                "test_accuracy_sd": stdev(runs) if len(runs) > 1 else None,
                "n": len(runs),
                "epochs": epochs,
                "float_mean": mean(floats) if floats else NOT_RUN,
                "float_n": len(floats),
                "published": told.get("accuracy"),
                "source": told.get("source"),
                "table": told.get("table"),
            }
        )
    return answer


def shown(records: Records) -> list[Row]:
    """Give one row a data set, start and bits, one column a method, in percent."""
    found, published = by_cell(records), _published()
    answer: list[Row] = []
    for data, start, bits in product(DATA, STARTS, BITS):
        cells = {
            _heading(method, labels): told(
                found.get((data, start, bits, method, labels), _NONE)[1],
                published.get((data, start, bits, method, labels), {}).get("accuracy"),
            )
            for method, labels in METHODS
        }
        keys = {(data, *_FLOAT), *((data, start, bits, *method) for method in METHODS)}
        epochs = sorted({found[key][0] for key in keys & set(found)})
        answer.append(
            {
                "data": data,
                "start": start,
                "bits": bits,
                "epochs": ", ".join(map(str, epochs)) or NOT_RUN,
                "float": told(found.get((data, *_FLOAT), _NONE)[1]),
                **cells,
            }
        )
    return answer


def told(accuracies: list[float], published: str | None = None) -> str:
    """Say mean, standard deviation and n in percent, and what is published in brackets.

    Examples
    --------
    >>> told([0.9, 0.92]), told([0.9]), told([])
    ('91.0 ± 1.4 (2)', '90.0 (1)', 'not run')
    """
    text = NOT_RUN
    if accuracies:
        spread = f" ± {100 * stdev(accuracies):.1f}" if len(accuracies) > 1 else ""
        text = f"{100 * mean(accuracies):.1f}{spread} ({len(accuracies)})"
    return f"{text} [{published}]" if published else text


def _heading(method: str, labels: bool) -> str:
    if method in ("supervised", "KD"):
        return {"supervised": "QAT, labels", "KD": "KD"}[method]
    return method.replace(", k = ", " ") + (" + labels" if labels else "")


def by_cell(records: Records) -> dict[Key, Cell]:
    """Group the runs by cell; keep those of most epochs, and of these float32 before bfloat16."""
    runs = defaultdict(list)
    for _, record in sorted(records.items()):
        run = record.result
        key = (run["data"], run["start"], run["bits"], run["method"], run["labels"])
        rank = (len(run["epochs"]), run["config"]["run"]["precision"] == "float32")
        runs[key].append((rank, run["test_accuracy"]))
    best = {key: max(rank for rank, _ in found) for key, found in runs.items()}
    return {
        key: (best[key][0], [accuracy for rank, accuracy in found if rank == best[key]])
        for key, found in runs.items()
    }


def _published() -> dict[Key, dict[str, str]]:
    """Read the published figures; a method and what it reads of labels as in `METHODS`."""
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        return {
            (row["data"], row["start"], row["bits"], row["method"], row["labels"] == "yes"): row
            for row in csv.DictReader(file)
        }


TABLE = Table(
    name="accuracy",
    needs=("runs/*",),
    caption="Test accuracy in percent: mean ± standard deviation over seeds (n), published figures "
    "in brackets. FA and FFA come with KD; the float counterpart is trained with labels. "
    "The longest runs of a cell count, in bfloat16 only where none in float32 is as long.",
    rows=rows,
    shown=shown,
    fills=True,
    files=(PUBLISHED,),
)
