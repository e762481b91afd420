"""Affinity of one image's pixels: teacher, student before and after training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from analysis.figures.drawing import STYLE, Picture, Records, Row, new_figure, note

RECORD = "studies/affinities"
_NETWORKS = ("teacher", "student before", "student after")


def draw(records: Records) -> Figure:
    """Draw a row a tap, a column a network."""
    return draw_result(records[RECORD].result)


def draw_result(result: Mapping[str, Any]) -> Figure:
    """Draw what the study `analysis.studies.affinities` gives."""
    taps = result["taps"]
    with plt.style.context(STYLE):
        figure = new_figure(0.6 + 1.0 * len(taps))
        grid = figure.subplots(len(taps), len(_NETWORKS), squeeze=False)
        for panels, (tap, maps) in zip(grid, taps.items(), strict=True):
            for panel, network in zip(panels, _NETWORKS, strict=True):
                drawn = panel.imshow(np.array(maps[network]) / 100, vmin=0, vmax=1)
                panel.grid(False)
                panel.set(xticks=[], yticks=[])
                panel.spines[:].set_visible(False)
            panels[0].set_ylabel(f"{tap}\n{maps['side']}×{maps['side']} pixels")
            panels[1].set_title(f"FA = {maps['fa_before']:.3f}")
            panels[2].set_title(f"FA = {maps['fa_after']:.3f}")
        for panel, network in zip(grid[0], _NETWORKS, strict=True):
            panel.set_title("\n".join([network, panel.get_title()]).rstrip())
        bar = figure.colorbar(drawn, ax=grid, shrink=0.6, label="cosine of two pixels")
        bar.outline.set_visible(False)
        note(
            figure,
            f"{result['about']}, one validation image. Every pixel against every other; FA to the "
            f"teacher.",
        )
    return figure


def rows(records: Records) -> list[Row]:
    """Give FA by tap; the matrices are in the record."""
    return [
        {"tap": tap, "pixels": maps["side"] ** 2}
        | {"fa_before": maps["fa_before"], "fa_after": maps["fa_after"]}
        for tap, maps in records[RECORD].result["taps"].items()
    ]


PICTURE = Picture(
    name="affinity-maps",
    needs=(RECORD,),
    text="Matrices of cosines between all pixels: the student's come to look like the teacher's "
    "through training.",
    draw=draw,
    rows=rows,
)
