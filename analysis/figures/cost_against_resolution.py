"""Multiply-adds, time and memory of the three paths against resolution, and where they cross."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from analysis.figures.drawing import (
    DASHES,
    MARKERS,
    STYLE,
    Picture,
    Records,
    Row,
    new_figure,
    note,
)

RECORD = "studies/cost"
_PATHS = {"direct": "direct", "ffa": "FFA", "gram": "Gram"}
_QUANTITIES = {
    "multiply_adds": "multiply-adds",
    "seconds": "seconds",
    "bytes": "bytes at once",
}


def draw(records: Records) -> Figure:
    """Draw a row a quantity, a column a number of channels; crossings are marked."""
    result = records[RECORD].result
    shapes = result["shapes"]
    with plt.style.context(STYLE):
        figure = new_figure(4.8)
        grid = figure.subplots(len(_QUANTITIES), len(shapes), sharex=True, sharey="row")
        for column, (channels, shape) in zip(grid.T, shapes.items(), strict=True):
            column[0].set_title(f"{channels} channels")
            for panel, quantity in zip(column, _QUANTITIES, strict=True):
                _panel(panel, shape, quantity)
            column[-1].set_xlabel("pixels N")
        for panel, label in zip(grid[:, 0], _QUANTITIES.values(), strict=True):
            panel.set_ylabel(label)
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
        note(
            figure,
            f"One sample, equal channels, k = {result['k']}. Time: NumPy on one thread, median "
            f"of {result['rounds']} rounds; band: fastest to slowest. Memory: arrays at the peak. "
            f"Dotted: where direct crosses Gram.",
        )
    return figure


def _panel(panel: Any, shape: Mapping[str, Any], quantity: str) -> None:
    pixels = shape["pixels"]
    for (path, label), dashes, marker in zip(_PATHS.items(), DASHES, MARKERS, strict=False):
        values = shape[path]
        line = panel.loglog(
            pixels, values[quantity], ls=dashes, marker=marker, mfc="white", label=label
        )[0]
        if quantity == "seconds":
            panel.fill_between(
                pixels,
                values["fastest"],
                values["slowest"],
                color=line.get_color(),
                alpha=0.2,
                lw=0,
            )
    at = crossing(pixels, shape["direct"][quantity], shape["gram"][quantity])
    if at is not None:
        panel.axvline(at, color="0.4", lw=0.8, ls=":")
    panel.set_xticks([16, 64, 256, 1024, 4096], ["16", "64", "256", "1k", "4k"])
    panel.minorticks_off()


def crossing(sizes: Sequence[int], first: Sequence[float], second: Sequence[float]) -> float | None:
    """Where the first comes to exceed the second for good, on log-log axes; None if nowhere.

    Examples
    --------
    >>> round(crossing([1, 100], [1, 10_000], [10, 1000]), 6)
    10.0
    """
    x, excess = np.log(sizes), np.log(first) - np.log(second)
    below = np.flatnonzero(excess < 0)
    if not below.size or below[-1] == len(x) - 1:
        return None
    i = below[-1]
    share = -excess[i] / (excess[i + 1] - excess[i])
    return float(np.exp(x[i] + share * (x[i + 1] - x[i])))


def rows(records: Records) -> list[Row]:
    """Give every measured point."""
    return [
        {"channels": int(channels), "pixels": n, "path": path}
        | {quantity: shape[path][quantity][i] for quantity in (*_QUANTITIES, "fastest", "slowest")}
        for channels, shape in records[RECORD].result["shapes"].items()
        for path in _PATHS
        for i, n in enumerate(shape["pixels"])
    ]


PICTURE = Picture(
    name="cost-against-resolution",
    needs=(RECORD,),
    text="Against the number of pixels, the direct path's operations, time and memory grow like "
    "the "
    "square and those of FFA and Gram linearly; Gram is cheapest at 16 channels, FFA at 64.",
    draw=draw,
    rows=rows,
)
