"""Figures of FFA's relative error: against the number of probes, and its tail at k = 15."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.rendering.figures import (
    DASHES,
    corner_legend,
    new_figure,
    note,
    probe_ticks,
    stage_panels,
)
from analysis.rendering.product import Result
from analysis.rendering.tables import Row

_TICKS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
_COLOURS = 6
_SMALLEST = 1e-5


def draw_errors(result: Result) -> Figure:
    """Draw FFA's relative error against k, with its exact law and its bounds, for each stage."""
    stages = result["stages"]
    figure = new_figure(3.7)
    titles = [f"{tap}: N = {s['n']}, ρ = {s['effective_rank']:.1f}" for tap, s in stages.items()]
    panels, corner = stage_panels(figure, titles)
    for panel, stage in zip(panels, stages.values(), strict=True):
        _error_panel(panel, stage)
    panels[0].set_ylabel("relative error")
    panels[2].set_ylabel("relative error")
    corner_legend(corner, panels[0], borderaxespad=0)
    level = 100 * (1 - result["delta"])
    samples = len(next(iter(stages.values()))["exact_of_all"])
    note(
        figure,
        f"{result['about']}. {level:g}th percentile of |T − μ|/μ; circles: "
        f"{result['replications']:,} draws on the first of {samples} images; grey band: exact "
        f"law, least to largest of the {samples}.",
    )
    return figure


def _error_panel(panel: Axes, stage: Mapping[str, Any]) -> None:
    k, everywhere = stage["probes"], np.array(stage["exact_of_all"])
    panel.fill_between(
        k, everywhere.min(0), everywhere.max(0), color="0.8", lw=0, label="all images"
    )
    for (name, errors), dashes in zip(stage["bounds"].items(), DASHES, strict=False):
        short = name.replace("Cortinovis & Kressner", "Cort. & Kressner")
        panel.plot(k, errors, label=short, linestyle=dashes)
    panel.plot(k, stage["exact"], color="black", label="exact law")
    panel.plot(k, stage["measured"], "o", color="black", mfc="white", label="measured")
    probe_ticks(panel, k)
    panel.set_yscale("log")
    panel.set_yticks(_TICKS, [f"{100 * error:g} %" for error in _TICKS])
    panel.minorticks_off()
    shown = [e for errors in stage["bounds"].values() for e in errors]
    panel.set_ylim(0.7 * everywhere.min(), 1.3 * max(shown))


def error_rows(result: Result) -> list[Row]:
    """Give the error of each curve at each k."""
    answer: list[Row] = []
    for tap, stage in result["stages"].items():
        curves = {"measured": stage["measured"], "exact law": stage["exact"], **stage["bounds"]}
        answer += [
            {"stage": tap, "pixels": stage["n"], "curve": name, "k": k, "relative_error": error}
            for name, errors in curves.items()
            for k, error in zip(stage["probes"], errors, strict=True)
        ]
    return answer


def draw_tails(result: Result) -> Figure:
    """Draw the chance of an error of ε at k = 15: exact, measured, and by every bound."""
    stages, epsilons = result["stages"], result["epsilons"]
    figure = new_figure(3.7)
    panels, corner = stage_panels(figure, [f"{t}: N = {s['n']}" for t, s in stages.items()])
    for panel, stage in zip(panels, stages.values(), strict=True):
        bounds = [name for name in stage["tails"] if name.startswith("B")]
        for number, name in enumerate(bounds):
            colour = f"C{number % _COLOURS}"
            # Three lines share a colour with another; their dashes differ.
            dashes = DASHES[number % _COLOURS] if number < _COLOURS else DASHES[number - 4]
            width = 1.2 if number < _COLOURS else 0.8
            panel.plot(
                epsilons, stage["tails"][name], ls=dashes, color=colour, lw=width, label=name
            )
        panel.plot(epsilons, stage["tails"]["exact law"], color="black", lw=1.8, label="exact")
        _measured(panel, epsilons, stage["tails"])
        panel.set_yscale("log")
        panel.set(ylim=(_SMALLEST, 3), xlim=(0, 1), xlabel="relative error ε")
        panel.set_yticks([1e-4, 1e-2, 1])
        panel.minorticks_off()
    for panel in (panels[0], panels[2]):
        panel.set_ylabel("P(|T − μ| ≥ εμ)")
    corner_legend(corner, panels[0], ncols=2, columnspacing=1)
    note(
        figure,
        f"{result['about']}, one image, k = {result['tail_probes']}. Circles: share of "
        f"{result['tail_draws']:,} draws, with 95 % intervals; none where no draw fell.",
    )
    return figure


def _measured(panel: Axes, epsilons: Sequence[float], tails: Mapping[str, Sequence[float]]) -> None:
    """Draw shares of draws with their intervals, where there is a share."""
    kept = [i for i, share in enumerate(tails["measured"]) if share > 0]
    x = [epsilons[i] for i in kept]
    y, low, high = ([tails[name][i] for i in kept] for name in ("measured", "low", "high"))
    panel.vlines(x, low, high, color="black", lw=0.8)
    panel.plot(x, y, "o", color="black", mfc="white", ms=3, label="measured")


def tail_rows(result: Result) -> list[Row]:
    """Give each curve at each ε."""
    return [
        {"stage": tap, "curve": name, "epsilon": epsilon, "probability": probability}
        for tap, stage in result["stages"].items()
        for name, curve in stage["tails"].items()
        for epsilon, probability in zip(result["epsilons"], curve, strict=True)
    ]
