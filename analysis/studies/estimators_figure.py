"""Estimates of FA at one cost: laws of the probes, deflation, sampled pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.rendering.figures import MARKERS, legend_below, new_figure, note
from analysis.rendering.product import Result
from analysis.rendering.tables import Row

_ERRORS = {"value_error": "of the value", "gradient_error": "of the gradient"}
# The axes' left ends, where what is exact but for rounding is drawn.
_LEAST = {"value_error": 0.01, "gradient_error": 0.1}
_TICKS = {"value_error": (0.01, 0.03, 0.1, 0.3), "gradient_error": (0.1, 0.3, 1, 3, 10)}
_ROUNDING = 1e-9


def draw(result: Result) -> Figure:
    """Draw one row for each estimator, one marker for each stage: median over images and range."""
    errors = result["errors"]
    names = list(dict.fromkeys(error["estimator"] for error in errors))
    stages = list(dict.fromkeys(_stage(error) for error in errors))
    images = sum(e["estimator"] == names[0] and _stage(e) == stages[0] for e in errors)
    figure = new_figure(2.9)
    panels = figure.subplots(1, 2, sharey=True)
    for panel, (quantity, title) in zip(panels, _ERRORS.items(), strict=True):
        for number, stage in enumerate(stages):
            groups = [
                [e[quantity] for e in errors if e["estimator"] == n and _stage(e) == stage]
                for n in names
            ]
            _points(panel, groups, stage, number, _LEAST[quantity])
        panel.set_xscale("log")
        panel.set_xlabel(title)
        panel.set_xlim(_LEAST[quantity], None)
        panel.set_xticks(_TICKS[quantity], [f"{tick:g}" for tick in _TICKS[quantity]])
        panel.minorticks_off()
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    legend_below(figure, panels[0], ncols=3, columnspacing=1, handlelength=1)
    note(
        figure,
        f"{result['about']}. Relative error, rms of {result['replications']} draws, at the "
        f"multiply-adds of FFA with k = {result['k']}. Marker: median of {images} images; "
        f"line: least to largest; filled: exact, as all pixels fit the cost.",
    )
    return figure


def _stage(error: Mapping[str, Any]) -> str:
    """Name the tap and N of a pair named tap[sample]."""
    return f"{error['maps'].split('[')[0]}, N = {error['pixels']}"


def _points(
    panel: Axes, groups: Sequence[Sequence[float]], label: str, number: int, least: float
) -> None:
    middles = np.array([np.median(group) for group in groups])
    ranges = np.array([[m - min(g), max(g) - m] for m, g in zip(middles, groups, strict=True)]).T
    exact = middles < _ROUNDING
    middles[exact] = least
    places = np.arange(len(groups)) + 0.22 * (number - 1)
    if exact.any():
        panel.plot(
            middles[exact], places[exact], MARKERS[number], color=f"C{number}", clip_on=False
        )
    panel.errorbar(
        middles,
        places,
        xerr=ranges,
        fmt=MARKERS[number],
        color=f"C{number}",
        mfc="white",
        lw=1,
        label=label,
    )


def rows(result: Result) -> list[Row]:
    """Give every error measured."""
    return [dict(error) for error in result["errors"]]
