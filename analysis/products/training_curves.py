"""Validation error and FA by epoch, with seeds as bands, for the runs of one data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.records.cells import Cell, cells
from analysis.records.store import Records
from analysis.rendering.figures import DASHES, new_figure, note
from analysis.rendering.product import Product
from analysis.rendering.tables import Row

# What a run gave: its epochs, and what was run.
Run = Mapping[str, Any]
# Runs that make one curve, and its name.
Group = tuple[str, Sequence[Run]]

_TITLES = {"digits": "Digits", "cifar10": "CIFAR-10"}
_FINE = (0.5, 1, 2, 3, 5, 10, 20, 30, 50, 100)
_COARSE = (0.5, 1, 2, 5, 10, 20, 50, 100)
_WIDE = 30  # times from the least to the largest error, beyond which fine ticks would meet
_LEAST = 0.3
_LONGEST_OF_TWO = 28  # letters, where the legend has two columns


def draw(records: Records, title: str) -> Figure:
    """Draw one curve for each cell of the runs that were trained here."""
    trained = [cell for cell in cells(records) if cell.words["epochs"]]
    networks = sorted({cell.words["network"] for cell in trained})
    groups = [(label(cell), cell.results) for cell in trained]
    return draw_groups(groups, f"{title}, {' and '.join(networks)}")


def label(cell: Cell) -> str:
    """Name a cell in a legend."""
    words = cell.words
    reads = " + labels" if words["labels"] and words["method"] != "supervised" else ""
    parts = [f"{words['bits']} {words['method']}{reads}"]
    parts += [words["start"]] if words["start"] != "scratch" else []
    parts += ["teacher"] if cell.teaches else []
    return ", ".join([*parts, *([cell.other] if cell.other else [])])


def draw_groups(groups: Sequence[Group], title: str) -> Figure:
    """Draw one curve for each group: the mean over seeds, and the least and largest as band.

    Trainings of one length, within a factor of 2, share a row of panels.
    """
    lengths = _rows_of_lengths([len(runs[0]["epochs"]) for _, runs in groups])
    columns = 2 if max(len(name) for name, _ in groups) < _LONGEST_OF_TWO else 1
    figure = new_figure(0.5 + 1.95 * len(lengths) + 0.14 * -(-len(groups) // columns))
    grid = figure.subplots(len(lengths), 2, width_ratios=(1.3, 1), squeeze=False)
    handles, names = [], []
    for number, (name, runs) in enumerate(groups):
        style = {"color": f"C{number % 7}", "ls": DASHES[number % len(DASHES)]}
        row = next(i for i, shared in enumerate(lengths) if len(runs[0]["epochs"]) in shared)
        left, right = grid[row]
        epochs = [epoch["epoch"] for epoch in runs[0]["epochs"]]
        error = 100 * (1 - _curves(runs, lambda epoch: epoch["validation_accuracy"]))
        handles.append(_band(left, epochs, np.maximum(error, _LEAST), style))
        length = f", {len(epochs)} epochs" if len(lengths) > 1 else ""
        names.append(f"{name}{length} ({len(runs)})")
        if "fa" in runs[0]["epochs"][0]["terms"]:
            _band(right, epochs, _curves(runs, lambda epoch: epoch["terms"]["fa"]), style)
    for left, right in grid:
        _finish(left, right)
    grid[0, 0].set_title("validation error")
    grid[0, 1].set_title("FA, sum of taps")
    figure.legend(handles, names, loc="outside lower center", ncols=columns, columnspacing=1)
    note(
        figure,
        f"{title}. Line: mean over seeds (their number); band: least to largest. Errors below "
        f"{_LEAST} % are drawn there.",
    )
    return figure


def _rows_of_lengths(lengths: Sequence[int]) -> list[set[int]]:
    """Put lengths within a factor of 2 of the longest of them into one row; longest first."""
    rows: list[set[int]] = []
    for length in sorted(set(lengths), reverse=True):
        if rows and 2 * length >= max(rows[-1]):
            rows[-1].add(length)
        else:
            rows.append({length})
    return rows


def _finish(left: Axes, right: Axes) -> None:
    """Label the axes; say where no run has validation labels or an FA term."""
    for panel, lacking in ((left, "unknown"), (right, "not run")):
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if not any(np.isfinite(line.get_ydata()).any() for line in panel.lines):
            panel.text(0.5, 0.5, lacking, ha="center", transform=panel.transAxes)
            panel.set(xticks=[], yticks=[])
        elif panel is right:
            panel.set_ylim(0, None)
        else:
            panel.set_yscale("log")
            low, high = panel.get_ylim()
            ticks = _COARSE if high > _WIDE * low else _FINE
            shown = [tick for tick in ticks if low <= tick <= high]
            panel.set_yticks(shown, [f"{tick:g} %" for tick in shown])
            panel.minorticks_off()


def _curves(
    runs: Sequence[Run], value: Callable[[Mapping[str, Any]], float | None]
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Collect a value of each epoch, one row for each run; what is not known is NaN."""
    return np.array([[value(epoch) for epoch in run["epochs"]] for run in runs], dtype=np.float64)


def _band(panel: Axes, x: Sequence[int], y: Any, style: Mapping[str, Any]) -> Any:
    """Draw the mean and the range over the runs, at the epochs where all are known."""
    known = np.isfinite(y).all(axis=0)
    x, y = np.array(x)[known], y[:, known]
    panel.fill_between(x, y.min(0), y.max(0), color=style["color"], alpha=0.2, lw=0)
    return panel.plot(x, y.mean(0), **style)[0]


def rows(records: Records) -> list[Row]:
    """Give every epoch of every run."""
    return [
        {
            "run": name.removeprefix("runs/"),
            "method": label(cell),
            "seed": record.seeds[0],
            "epoch": epoch["epoch"],
            "loss": epoch["loss"],
            "fa": epoch["terms"].get("fa"),
            "validation_accuracy": epoch["validation_accuracy"],
        }
        for cell in cells(records)
        for name, record in cell.runs.items()
        for epoch in record.result["epochs"]
    ]


def curves_of(data: str, title: str) -> Product:
    """Make the figure of one data set's runs."""
    return Product(
        name=f"training-curves-{data}",
        needs=f"runs/{data}-*",
        text=f"{title}: validation error by epoch for each method, and the FA term of those that "
        "have one.",
        draw=partial(draw, title=title),
        rows=rows,
    )


CURVES = tuple(curves_of(data, title) for data, title in _TITLES.items())
