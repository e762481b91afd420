"""FFA's relative error against the number of probes, with its exact law and its bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from analysis.figures.drawing import (
    DASHES,
    STYLE,
    Picture,
    Records,
    Row,
    corner_legend,
    new_figure,
    note,
    probe_ticks,
    stage_panels,
)

RECORD = "studies/probe-errors"
_TICKS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


def draw(records: Records) -> Figure:
    """Draw one panel a stage."""
    return draw_result(records[RECORD].result)


def draw_result(result: Mapping[str, Any]) -> Figure:
    """Draw what the study `analysis.studies.probe_errors` gives."""
    stages = result["stages"]
    with plt.style.context(STYLE):
        figure = new_figure(3.7)
        titles = [
            f"{tap}: N = {s['n']}, ρ = {s['effective_rank']:.1f}" for tap, s in stages.items()
        ]
        panels, corner = stage_panels(figure, titles)
        for panel, stage in zip(panels, stages.values(), strict=True):
            _panel(panel, stage)
        panels[0].set_ylabel("relative error")
        panels[2].set_ylabel("relative error")
        corner_legend(corner, panels[0])
        level, samples = (
            100 * (1 - result["delta"]),
            len(next(iter(stages.values()))["exact_of_all"]),
        )
        note(
            figure,
            f"{result['about']}. {level:g}th percentile of |T − μ|/μ; circles: "
            f"{result['replications']:,} draws on the first of {samples} images; grey band: exact "
            f"law, "
            f"least to largest of the {samples}.",
        )
    return figure


def _panel(panel: Any, stage: Mapping[str, Any]) -> None:
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


def rows(records: Records) -> list[Row]:
    """Give the error of each curve at each k."""
    answer: list[Row] = []
    for tap, stage in records[RECORD].result["stages"].items():
        curves = {"measured": stage["measured"], "exact law": stage["exact"], **stage["bounds"]}
        answer += [
            {"stage": tap, "pixels": stage["n"], "curve": name, "k": k, "relative_error": error}
            for name, errors in curves.items()
            for k, error in zip(stage["probes"], errors, strict=True)
        ]
    return answer


PICTURE = Picture(
    name="error-against-probes",
    needs=(RECORD,),
    text="FFA's relative error falls like one over the root of k in each stage; measured errors "
    "lie "
    "on the exact law, and the bounds above it, Chernoff's closest.",
    draw=draw,
    rows=rows,
)
