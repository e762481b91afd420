"""Noise of FFA's gradient and of its value against k and against N, with P8 and P2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from analysis.figures.drawing import (
    MARKERS,
    STYLE,
    Picture,
    Records,
    Row,
    new_figure,
    note,
    probe_ticks,
)

RECORD = "studies/gradient-noise"
_KINDS = {"gradient": ("-", True), "value": ("--", False)}


def draw(records: Records) -> Figure:
    """Draw the noise against k by stage, and against N on crops."""
    result = records[RECORD].result
    with plt.style.context(STYLE):
        figure = new_figure(3.0)
        left, right = figure.subplots(1, 2, sharey=True)
        for number, (tap, noises) in enumerate(result["by_probes"].items()):
            _lines(left, result["probes"], noises, number, f"{tap}, N = {noises[0]['pixels']}")
        probe_ticks(left, result["probes"])
        crops = result["by_pixels"]
        pixels = [noise["pixels"] for noise in crops]
        _lines(right, pixels, crops, 3, f"crops of {result['cropped']}")
        right.set_xscale("log")
        right.set_xticks(pixels, [str(n) for n in pixels])
        right.minorticks_off()
        right.set_xlabel("pixels N")
        right.set_title(f"crops, k = {result['k']}")
        left.set_title("by stage")
        left.set_yscale("log")
        left.set_ylabel("relative error, rms")
        ticks = (0.1, 0.3, 1, 3, 10, 30)
        left.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        left.minorticks_off()
        handles, labels = left.get_legend_handles_labels()
        more = right.get_legend_handles_labels()
        figure.legend(handles + more[0], labels + more[1], loc="outside lower center", ncols=2)
        note(
            figure,
            f"{result['about']}, one image. Markers: rms of {result['replications']} draws. "
            f"Lines: theory. Filled, solid: gradient (P8). Open, dashed: value (P2).",
        )
    return figure


def _lines(
    panel: Any, x: Sequence[int], noises: Sequence[Mapping[str, float]], number: int, label: str
) -> None:
    colour, marker = f"C{number}", MARKERS[number]
    for kind, (dashes, filled) in _KINDS.items():
        panel.plot(x, [noise[f"{kind}_predicted"] for noise in noises], dashes, color=colour)
        panel.plot(
            x,
            [noise[f"{kind}_measured"] for noise in noises],
            marker,
            color=colour,
            mfc=colour if filled else "white",
            label=label if filled else None,
        )


def rows(records: Records) -> list[Row]:
    """Give measured and predicted noise of every point."""
    result = records[RECORD].result
    by_tap = {**result["by_probes"], f"crops of {result['cropped']}": result["by_pixels"]}
    return [{"maps": tap, **noise} for tap, noises in by_tap.items() for noise in noises]


PICTURE = Picture(
    name="gradient-noise",
    needs=(RECORD,),
    text="The gradient's relative noise is far above the value's, falls like one over the root of "
    "k "
    "and grows with the number of pixels; measured points lie on the theory's lines.",
    draw=draw,
    rows=rows,
)
