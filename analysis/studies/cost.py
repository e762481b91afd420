"""What one loss costs by resolution, at equal channels: multiply-adds, time, memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from analysis.rendering.figures import DASHES, MARKERS, legend_below, new_figure, note
from analysis.rendering.product import Product, Result
from analysis.rendering.tables import Row
from analysis.studies.complexity import Sizes, interleaved_seconds, loss_call, peak_bytes
from analysis.studies.study import Study
from faqd_math.cost import LossPath, multiply_adds

SIDES = (4, 6, 8, 12, 16, 24, 32, 48, 64)
CHANNELS = (16, 64)
_K = 15
_ROUNDS = 5
_PATHS: Mapping[LossPath, str] = {"direct": "direct", "ffa": "FFA", "gram": "Gram"}
_QUANTITIES = {
    "multiply_adds": "multiply-adds",
    "seconds": "seconds",
    "bytes": "bytes at once",
}


def costs(
    *, rng: np.random.Generator, rounds: int = _ROUNDS, sides: tuple[int, ...] = SIDES
) -> Result:
    """Count, time (NumPy, one thread, processor time) and trace each path on random maps."""
    return {
        "k": _K,
        "rounds": rounds,
        "shapes": {str(c): _by_resolution(c, sides, rng, rounds) for c in CHANNELS},
    }


def _by_resolution(
    channels: int, sides: tuple[int, ...], rng: np.random.Generator, rounds: int
) -> dict[str, Any]:
    sizes = [Sizes(side**2, channels, _K) for side in sides]
    answer: dict[str, Any] = {"pixels": [size.n for size in sizes]}
    for path in _PATHS:
        calls = [loss_call(path, size, "numpy", rng) for size in sizes]
        with threadpool_limits(limits=1):
            seconds = interleaved_seconds(calls, rounds)
        answer[path] = {
            "multiply_adds": [multiply_adds(path, s.n, channels, channels, _K) for s in sizes],
            "seconds": np.median(seconds, axis=0).tolist(),
            "fastest": seconds.min(axis=0).tolist(),
            "slowest": seconds.max(axis=0).tolist(),
            "bytes": [peak_bytes(call) for call in calls],
        }
    return answer


def draw(result: Result) -> Figure:
    """Draw one row for each quantity, one column for each number of channels."""
    shapes = result["shapes"]
    figure = new_figure(4.8)
    grid = figure.subplots(len(_QUANTITIES), len(shapes), sharex=True, sharey="row")
    for column, (channels, shape) in zip(grid.T, shapes.items(), strict=True):
        column[0].set_title(f"{channels} channels")
        for panel, quantity in zip(column, _QUANTITIES, strict=True):
            _panel(panel, shape, quantity)
        column[-1].set_xlabel("pixels N")
    for panel, label in zip(grid[:, 0], _QUANTITIES.values(), strict=True):
        panel.set_ylabel(label)
    legend_below(figure, grid[0, 0], ncols=3)
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


def rows(result: Result) -> list[Row]:
    """Give every measured point."""
    return [
        {"channels": int(channels), "pixels": n, "path": path}
        | {quantity: shape[path][quantity][i] for quantity in (*_QUANTITIES, "fastest", "slowest")}
        for channels, shape in result["shapes"].items()
        for path in _PATHS
        for i, n in enumerate(shape["pixels"])
    ]


def cost_rows(result: Result) -> list[Row]:
    """Give what a sample's loss costs by each path, in a table's units."""
    return [
        {key: row[key] for key in ("channels", "pixels", "path")}
        | {"multiply-adds": row["multiply_adds"], "milliseconds": 1000 * row["seconds"]}
        | {"kilobytes": row["bytes"] / 1000}
        for row in sorted(rows(result), key=lambda row: (row["channels"], row["pixels"]))
    ]


STUDY = Study(
    name="cost",
    keys=frozenset({"k", "shapes"}),
    compute=lambda s: costs(rng=s.rng),
    k=(_K,),
    replications=_ROUNDS,
    products=(
        Product(
            name="cost-against-resolution",
            text="Against the number of pixels, the direct path's operations, time and memory grow "
            "like the square and those of FFA and Gram linearly; Gram is cheapest at 16 channels, "
            "FFA at 64.",
            draw=draw,
            rows=rows,
        ),
        Product(
            name="cost",
            text="Cost of one sample's loss of order 2, equal channels, k = 15: multiply-adds, "
            "median time of NumPy on one thread, and arrays held at the peak.",
            rows=cost_rows,
        ),
    ),
)
