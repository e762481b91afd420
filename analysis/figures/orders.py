"""FFA of order 1 and 2, and the Cauchy estimate of order 1, over the FA they are meant for."""

from __future__ import annotations

from collections.abc import Mapping
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
    corner_legend,
    new_figure,
    note,
    probe_ticks,
    stage_panels,
)

RECORD = "studies/orders"
_LARGEST = 2
_ESTIMATES = {
    "order 2": "FFA, order 2",
    "order 1, Cauchy": "order 1 by\nCauchy probes",
    "order 1": "FFA, order 1",
}


def draw(records: Records) -> Figure:
    """Draw one panel a stage."""
    result = records[RECORD].result
    with plt.style.context(STYLE):
        figure = new_figure(3.5)
        stages = result["stages"]
        panels, corner = stage_panels(
            figure, [f"{t}: N = {s['pixels']}" for t, s in stages.items()]
        )
        for panel, stage in zip(panels, stages.values(), strict=True):
            _panel(panel, result["probes"], stage)
        for panel in (panels[0], panels[2]):
            panel.set_ylabel("estimate over FA")
        corner_legend(corner, panels[0])
        note(
            figure,
            f"{result['about']}, one image. Mean of {result['replications']} draws, each over FA "
            f"of the same order; band: one standard deviation, cut off at {_LARGEST}.",
        )
    return figure


def _panel(panel: Any, probes: list[int], stage: Mapping[str, Any]) -> None:
    for number, (key, label) in enumerate(_ESTIMATES.items()):
        mean = np.array([moment["mean"] for moment in stage[key]])
        sd = np.array([moment["sd"] for moment in stage[key]])
        panel.plot(
            probes, mean, ls=DASHES[number], marker=MARKERS[number], mfc="white", label=label
        )
        panel.fill_between(probes, mean - sd, mean + sd, color=f"C{number}", alpha=0.18, lw=0)
    panel.axhline(stage["order 1, limit by P9"], color="black", lw=0.8, label="its limit (P9)")
    probe_ticks(panel, probes)
    panel.set_ylim(0, _LARGEST)


def rows(records: Records) -> list[Row]:
    """Give mean and deviation of every estimate, and the limit."""
    result = records[RECORD].result
    return [
        {"stage": tap, "pixels": stage["pixels"], "estimate": key, "k": k, **moment}
        | {"limit_of_order_1": stage["order 1, limit by P9"]}
        for tap, stage in result["stages"].items()
        for key in _ESTIMATES
        for k, moment in zip(result["probes"], stage[key], strict=True)
    ]


PICTURE = Picture(
    name="order-one-against-order-two",
    needs=(RECORD,),
    text="FFA of order 2 and the Cauchy estimate have FA as their mean; FFA of order 1 has a mean "
    "far below FA of order 1, whatever k.",
    draw=draw,
    rows=rows,
)
