"""The gap's effective rank, and FA, through training."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.drawing import DASHES, STYLE, Picture, Records, Row, new_figure, note

RECORD = "studies/ranks"
_QUANTITIES = {"effective_rank": "effective rank ρ", "fa": "FA"}


def draw(records: Records) -> Figure:
    """Draw medians over the images by tap, with the middle half as band."""
    result = records[RECORD].result
    with plt.style.context(STYLE):
        figure = new_figure(2.6)
        panels = figure.subplots(1, 2)
        for panel, (quantity, label) in zip(panels, _QUANTITIES.items(), strict=True):
            for number, (tap, measured) in enumerate(result["taps"].items()):
                low, middle, high = np.array(measured[quantity]).T
                panel.plot(result["epochs"], middle, ls=DASHES[number], label=tap)
                panel.fill_between(result["epochs"], low, high, color=f"C{number}", alpha=0.2, lw=0)
            panel.set(xlabel="epoch", title=label)
            panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        panels[0].set_ylim(1, None)
        panels[1].set_ylim(0, None)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
        note(
            figure,
            f"{result['about']}, one seed. Line: median of {result['samples']} validation images; "
            f"band: their middle half.",
        )
    return figure


def rows(records: Records) -> list[Row]:
    """Give the quartiles by epoch, tap and quantity."""
    result = records[RECORD].result
    return [
        {"tap": tap, "quantity": quantity, "epoch": epoch}
        | dict(zip(("lower_quartile", "median", "upper_quartile"), quartiles, strict=True))
        for tap, measured in result["taps"].items()
        for quantity in _QUANTITIES
        for epoch, quartiles in zip(result["epochs"], measured[quantity], strict=True)
    ]


PICTURE = Picture(
    name="effective-rank",
    needs=(RECORD,),
    text="The effective rank of the affinity gap and FA by epoch, for each tap.",
    draw=draw,
    rows=rows,
)
