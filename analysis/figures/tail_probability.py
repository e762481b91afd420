"""The chance of a relative error of ε at k = 15: exact, measured, and by every bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.drawing import (
    DASHES,
    STYLE,
    Picture,
    Records,
    Row,
    new_figure,
    note,
    stage_panels,
)

RECORD = "studies/probe-errors"
_COLOURS = 6
_SMALLEST = 1e-5


def draw(records: Records) -> Figure:
    """Draw one panel a stage."""
    result = records[RECORD].result
    stages, epsilons = result["stages"], result["epsilons"]
    with plt.style.context(STYLE):
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
        handles, labels = panels[0].get_legend_handles_labels()
        corner.legend(handles, labels, loc="center", ncols=2, columnspacing=1)
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


def rows(records: Records) -> list[Row]:
    """Give each curve at each ε."""
    result = records[RECORD].result
    return [
        {"stage": tap, "curve": name, "epsilon": epsilon, "probability": probability}
        for tap, stage in result["stages"].items()
        for name, curve in stage["tails"].items()
        for epsilon, probability in zip(result["epsilons"], curve, strict=True)
    ]


PICTURE = Picture(
    name="tail-probability",
    needs=(RECORD,),
    text="The probability of a relative error falls with the error; every bound lies above the "
    "exact law, on which the measured shares lie.",
    draw=draw,
    rows=rows,
)
