"""Time of each loss, forward and backward, against resolution and at the stages of the networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from analysis.rendering.figures import DASHES, MARKERS, new_figure, note
from analysis.rendering.product import Result
from analysis.rendering.tables import Row

RELEASED_FA, RELEASED_FFA = "released FA, direct", "released FFA, k = 15"
FA, FFA = "FA, auto", "FFA, k = 15"
# Compared at the stages: what, with what, the mark, and whether it is filled.
_RATIOS = (
    (FA, RELEASED_FA, "o", True),
    (FA, RELEASED_FFA, "s", False),
    (FFA, RELEASED_FFA, "^", False),
)

_Measured = Mapping[str, Any]


def draw(result: Result) -> Figure:
    """Draw times by resolution above, and ratios by stage below."""
    figure = new_figure(5.6)
    above, below = figure.subplots(2, 1, height_ratios=(3, 2))
    _by_resolution(above, result["sweep"])
    _by_stage(below, result["losses"])
    shape = result["sweep"][0]["shape"]
    note(
        figure,
        f"Forward and backward, float32, CPU threads: {result['threads']}, interleaved "
        f"calls: median of n = {_repetitions(result)}; bands and bars: quartiles. Above: batch "
        f"{shape['batch']}, {shape['channels']} channels; dotted: what bandwidth and matrix "
        f"rate allow exact FA at least. No mark: not run, too large or too slow.",
    )
    return figure


def _by_resolution(panel: Axes, tables: Sequence[_Measured]) -> None:
    paths = [row["path"] for row in tables[0]["rows"]]
    for number, path in enumerate(paths):
        run = [(t["shape"]["side"] ** 2, row) for t in tables for row in _of(t, path)]
        pixels = [n for n, _ in run]
        times = [row["seconds"] for _, row in run]
        line = panel.loglog(
            pixels,
            [1000 * time["median"] for time in times],
            ls=DASHES[number],
            marker=MARKERS[number],
            mfc="white",
            label=path,
        )[0]
        low, high = ([1000 * time[end] for time in times] for end in ("low", "high"))
        panel.fill_between(pixels, low, high, color=line.get_color(), alpha=0.2, lw=0)
    sides = [table["shape"]["side"] for table in tables]
    limits = [1000 * row["limit_seconds"] for t in tables for row in t["rows"] if row["path"] == FA]
    panel.plot([side**2 for side in sides], limits, ":", color="0.3", label="limit of exact FA")
    panel.set_xticks([side**2 for side in sides], [f"{side}²" for side in sides])
    panel.minorticks_off()
    panel.set_xlabel("pixels N")
    panel.set_ylabel("milliseconds")
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2)


def _by_stage(panel: Axes, tables: Sequence[_Measured]) -> None:
    colours = {row["path"]: f"C{i}" for i, row in enumerate(tables[0]["rows"])}  # as above
    for number, (path, released, marker, filled) in enumerate(_RATIOS):
        ratios = [ratio(table, path, released) for table in tables]
        found = [(y, r) for y, r in enumerate(ratios) if r is not None]
        panel.errorbar(
            [r["ratio"] for _, r in found],
            [y + 0.22 * (number - 1) for y, _ in found],
            xerr=[
                [r["ratio"] - r["low"] for _, r in found],
                [r["high"] - r["ratio"] for _, r in found],
            ],
            fmt=marker,
            color=colours[path],
            mfc=colours[path] if filled else "white",
            elinewidth=0.8,
            label=f"{path} over {released}",
        )
    panel.axvline(1, color="0.4", lw=0.8)
    panel.set_xscale("log")
    panel.set_yticks(range(len(tables)), [_name(table["shape"]) for table in tables])
    panel.invert_yaxis()
    panel.set_xlabel("times as fast")
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center")


def ratio(table: _Measured, path: str, released: str) -> dict[str, float] | None:
    """How many times as fast a path is as a released one, by medians and by opposite quartiles."""
    ours, theirs = _of(table, path), _of(table, released)
    if not ours or not theirs:
        return None
    fast, slow = ours[0]["seconds"], theirs[0]["seconds"]
    return {
        "ratio": slow["median"] / fast["median"],
        "low": slow["low"] / fast["high"],
        "high": slow["high"] / fast["low"],
    }


def _of(table: _Measured, path: str) -> list[_Measured]:
    """Return a path's row in a list, which is empty where the path was not run."""
    return [row for row in table["rows"] if row["path"] == path and row["seconds"] is not None]


def _name(shape: Mapping[str, Any]) -> str:
    """Say a stage in a line: data set, batch, channels, side."""
    data = shape["name"].split(" stage ")[0].replace("Tiny ImageNet", "Tiny")
    return f"{data} {shape['batch']}×{shape['channels']}×{shape['side']}²"


def _repetitions(result: _Measured) -> str:
    """Fewest and most repetitions of a median."""
    counts = [
        row["seconds"]["repetitions"]
        for table in (*result["sweep"], *result["losses"])
        for row in table["rows"]
        if row["seconds"] is not None
    ]
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)}…{max(counts)}"


def rows(result: Result) -> list[Row]:
    """Give every path at every shape; where it was not run, the reason."""
    return [
        {
            "part": part,
            **table["shape"],
            "path": row["path"],
            **{
                name: None if row["seconds"] is None else row["seconds"][name]
                for name in ("median", "low", "high", "repetitions")
            },
            "peak_bytes": row["peak_bytes"],
            "limit_seconds": row["limit_seconds"],
            "not_run": row["not_run"],
        }
        for part in ("sweep", "losses")
        for table in result[part]
        for row in table["rows"]
    ]
