"""Level histograms of a trained layer, and projections' errors over the exact optimum's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from analysis.figures.drawing import MARKERS, STYLE, Picture, Records, Row, new_figure, note

RECORD = "studies/quantizers"
_OTHERS = {"released": "as released", "alternating": "alternating"}


def draw(records: Records) -> Figure:
    """Draw the histogram of one layer by bits, and the excess error of all layers."""
    result = records[RECORD].result
    histograms = result["histograms"]
    with plt.style.context(STYLE):
        figure = new_figure(3.7)
        grid = figure.subplots(2, len(histograms["bits"]), sharey="row")
        for column, (bits, levels) in zip(grid.T, histograms["bits"].items(), strict=True):
            _histogram(column[0], histograms, levels)
            column[0].set_title(f"{bits} bit{'s' if bits != '1' else ''}")
            _excess(column[1], result["layers"], bits)
        grid[0, 0].set_ylabel("weights")
        grid[1, 0].set_ylabel("error over\nthe optimum's")
        handles, labels = grid[1, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
        note(
            figure,
            f"{result['about']}. Top: weights of "
            f"{result['histogram_layer'].removesuffix('.weight')} "
            f"(grey) and the levels of their exact projection (counts as bars). Below: all "
            f"{len(result['layers'])} layers, ‖w − q‖ over that of the optimum (1: as good); "
            f"alternating: {result['iterations']} rounds.",
        )
    return figure


def _histogram(panel: Any, histograms: Mapping[str, Any], levels: Mapping[str, Any]) -> None:
    edges = np.array(histograms["edges"])
    panel.stairs(histograms["counts"], edges, fill=True, color="0.75")
    panel.vlines(levels["levels"], 0, levels["counts"], color="C0", lw=1.2)
    panel.set_yscale("log")
    panel.set_ylim(0.7, None)
    panel.set_xlabel("weight")
    panel.minorticks_off()
    tick = float(f"{0.75 * edges.max():.1g}")
    panel.set_xticks([-tick, 0, tick], [f"−{tick:g}", "0", f"{tick:g}"])


def _excess(panel: Any, layers: Mapping[str, Any], bits: str) -> None:
    sizes = [layer["weights"] for layer in layers.values()]
    for number, (name, label) in enumerate(_OTHERS.items()):
        ratios = [
            layer["errors"][bits][name] / layer["errors"][bits]["exact"]
            for layer in layers.values()
        ]
        panel.plot(sizes, ratios, MARKERS[number], color=f"C{1 + number}", mfc="none", label=label)
    panel.axhline(1, color="black", lw=0.8)
    panel.set_xscale("log")
    panel.set_xlabel("layer's weights")
    panel.minorticks_off()


def rows(records: Records) -> list[Row]:
    """Give every layer's relative error by bits and projection."""
    return [
        {"layer": name, "weights": layer["weights"], "bits": int(bits), "projection": projection}
        | {"relative_error": error}
        for name, layer in records[RECORD].result["layers"].items()
        for bits, errors in layer["errors"].items()
        for projection, error in errors.items()
    ]


PICTURE = Picture(
    name="quantizers",
    needs=(RECORD,),
    text="Weights of a layer and the levels they are projected on, for 1, 2 and 4 bits; errors of "
    "the "
    "released and the alternating projections over the exact optimum's, layer by layer.",
    draw=draw,
    rows=rows,
)
