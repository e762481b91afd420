"""Validation error and FA by epoch, with seeds as bands, for one data set's runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.drawing import DASHES, STYLE, Picture, Records, Row, new_figure, note

# What a run gave: its epochs, and what was run.
Run = Mapping[str, Any]

_TITLES = {"digits": "Digits", "cifar10": "CIFAR-10"}
_PERCENT = (0.5, 1, 2, 3, 5, 10, 20, 30, 50, 100)
_LEAST = 0.3


def draw(records: Records, data: str) -> Figure:
    """Draw a curve a method."""
    return draw_groups(by_method(records), _TITLES[data])


def draw_groups(groups: Sequence[tuple[str, Sequence[Run]]], title: str) -> Figure:
    """Draw a curve a group of runs: the mean over seeds, and the least and largest as band."""
    with plt.style.context(STYLE):
        figure = new_figure(3.2)
        left, right = figure.subplots(1, 2, width_ratios=(1.3, 1))
        for number, (label, runs) in enumerate(groups):
            style = {"color": f"C{number % 7}", "ls": DASHES[number % len(DASHES)]}
            epochs = [epoch["epoch"] for epoch in runs[0]["epochs"]]
            error = 100 * (1 - _curves(runs, lambda epoch: epoch["validation_accuracy"]))
            _band(left, epochs, np.maximum(error, _LEAST), f"{label} ({len(runs)})", style)
            if "fa" in runs[0]["epochs"][0]["terms"]:
                _band(right, epochs, _curves(runs, lambda epoch: epoch["terms"]["fa"]), "", style)
        _finish(left, right)
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, columnspacing=1)
        note(
            figure,
            f"{title}. Line: mean over seeds (their number); band: least to largest. "
            f"Errors "
            f"below {_LEAST} % are drawn there.",
        )
    return figure


def _finish(left: Axes, right: Axes) -> None:
    """Label the axes; say where no run has an FA term."""
    for panel in (left, right):
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    left.set_yscale("log")
    low, high = left.get_ylim()
    shown = [tick for tick in _PERCENT if low <= tick <= high]
    left.set_yticks(shown, [f"{tick:g} %" for tick in shown])
    left.minorticks_off()
    left.set_title("validation error")
    right.set_title("FA, sum of taps")
    if right.lines:
        right.set_ylim(0, None)
    else:
        right.text(0.5, 0.5, "not run", ha="center", transform=right.transAxes)
        right.set(xticks=[], yticks=[])


def by_method(records: Records) -> list[tuple[str, list[Run]]]:
    """Group runs that differ in nothing but the seed, and have as many epochs."""
    keys = {
        name: (_label(record.result), len(record.result["epochs"]))
        for name, record in records.items()
    }
    groups = groupby(sorted(records, key=lambda name: (keys[name], name)), key=keys.__getitem__)
    return [(label, [records[name].result for name in names]) for (label, _), names in groups]


def _label(run: Run) -> str:
    """Name what was run, but for the seed."""
    labels = " + labels" if run["labels"] and run["method"] not in ("supervised", "teacher") else ""
    start = "" if run["start"] == "scratch" else f", {run['start']}"
    precision = run["config"]["run"]["precision"]
    mixed = "" if precision == "float32" else f", {precision}"
    return f"{run['bits']} {run['method']}{labels}{start}{mixed}"


def _curves(runs: Sequence[Run], value: Callable[[Mapping[str, Any]], float]) -> np.ndarray:
    """Collect a value of each epoch, a row a run."""
    return np.array([[value(epoch) for epoch in run["epochs"]] for run in runs])


def _band(panel: Axes, x: list[int], y: np.ndarray, label: str, style: Mapping[str, Any]) -> None:
    panel.plot(x, y.mean(0), label=label, **style)
    panel.fill_between(x, y.min(0), y.max(0), color=style["color"], alpha=0.2, lw=0)


def rows(records: Records) -> list[Row]:
    """Give every epoch of every run."""
    return [
        {
            "run": name.removeprefix("runs/"),
            "method": _label(record.result),
            "seed": record.seeds[0],
            "epoch": epoch["epoch"],
            "loss": epoch["loss"],
            "fa": epoch["terms"].get("fa"),
            "validation_accuracy": epoch["validation_accuracy"],
        }
        for name, record in sorted(records.items())
        for epoch in record.result["epochs"]
    ]


def _picture(data: str) -> Picture:
    return Picture(
        name=f"training-curves-{data}",
        needs=(f"runs/{data}-*",),
        text=f"{_TITLES[data]}: validation error by epoch for each method, and the FA term of "
        f"those "
        "that have one.",
        draw=partial(draw, data=data),
        rows=rows,
    )


PICTURES = tuple(_picture(data) for data in _TITLES)
