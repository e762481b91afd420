"""Projections of a trained network's weights: how far from the exact optimum, by bits and layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from analysis.rendering.figures import MARKERS, legend_below, new_figure, note
from analysis.rendering.product import Product, Result
from analysis.rendering.tables import Row
from analysis.studies.study import Array, Study
from faqd_math import quantize
from faqd_math.released import losses as released

BITS = (1, 2, 4)
_RELEASED = {1: released.binary, 2: released.ternary, 4: released.four_bit}
_BINS = 61
_ITERATIONS = 10
_OTHERS = {"released": "as released", "alternating": "alternating"}


def quantizers(weights: Mapping[str, Array], about: str) -> Result:
    """Compare the exact projection with the released one and alternation, layer by layer."""
    middle = sorted(weights)[len(weights) // 2]
    return {
        "about": about,
        "iterations": _ITERATIONS,
        "layers": {
            name: {"weights": w.size, "errors": {str(bits): _errors(w, bits) for bits in BITS}}
            for name, w in weights.items()
        },
        "histogram_layer": middle,
        "histograms": _histograms(weights[middle]),
    }


def _errors(weights: Array, bits: int) -> dict[str, float]:
    """‖w − q‖/‖w‖ by projection."""
    alternating, _ = quantize.alternating_projection(weights, bits, iterations=_ITERATIONS)
    projected = {
        "exact": quantize.project_weights(weights, bits).values,
        "alternating": alternating.values,
        "released": _RELEASED[bits](weights),
    }
    size = np.linalg.norm(weights)
    return {name: float(np.linalg.norm(weights - q) / size) for name, q in projected.items()}


def _histograms(weights: Array) -> dict[str, Any]:
    counts, edges = np.histogram(weights, bins=_BINS)
    levels = {}
    for bits in BITS:
        values = quantize.project_weights(weights, bits).values
        level, count = np.unique(values, return_counts=True)
        levels[str(bits)] = {"levels": level.tolist(), "counts": count.tolist()}
    return {"edges": edges.tolist(), "counts": counts.tolist(), "bits": levels}


def draw(result: Result) -> Figure:
    """Draw the histogram of one layer by bits, and the excess error of all layers."""
    histograms = result["histograms"]
    figure = new_figure(3.7)
    grid = figure.subplots(2, len(histograms["bits"]), sharey="row")
    for column, (bits, levels) in zip(grid.T, histograms["bits"].items(), strict=True):
        _histogram(column[0], histograms, levels)
        column[0].set_title(f"{bits} bit{'s' if bits != '1' else ''}")
        _excess(column[1], result["layers"], bits)
    grid[0, 0].set_ylabel("weights")
    grid[1, 0].set_ylabel("error over\nthe optimum's")
    legend_below(figure, grid[1, 0], ncols=2)
    note(
        figure,
        f"{result['about']}. Top: weights of {result['histogram_layer'].removesuffix('.weight')} "
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


def rows(result: Result) -> list[Row]:
    """Give every layer's relative error by bits and projection."""
    return [
        {"layer": name, "weights": layer["weights"], "bits": int(bits), "projection": projection}
        | {"relative_error": error}
        for name, layer in result["layers"].items()
        for bits, errors in layer["errors"].items()
        for projection, error in errors.items()
    ]


STUDY = Study(
    name="quantizers",
    keys=frozenset({"about", "layers", "histograms"}),
    compute=lambda s: quantizers(s.layers, s.describe(s.weights_file.parent)),
    needs="weights",
    draws=False,
    products=(
        Product(
            name="quantizers",
            text="Weights of a layer and the levels they are projected on, for 1, 2 and 4 bits; "
            "errors of the released and the alternating projections over the exact optimum's, "
            "layer by layer.",
            draw=draw,
            rows=rows,
        ),
    ),
)
