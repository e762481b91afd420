"""What all figures share: the style, the column's width, notes, panels by stage, stable bytes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

STYLE = Path(__file__).with_name("faqd.mplstyle")
WIDTH = 3.5  # inches, one column
_NOTE = {"fontsize": 6.5, "x": 0.01, "ha": "left", "color": "0.25"}
_NOTE_COLUMNS = 66

# Told apart without colour, in the order of the style's colours.
DASHES = ("-", (0, (5, 1.5)), (0, (2, 1.2)), (0, (5, 1.5, 1, 1.5)), (0, (1, 1)), (0, (8, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# Without dates and versions, so that equal figures are equal files.
_METADATA = {"pdf": {"CreationDate": None, "Producer": None}, "png": {"Software": None}}


def to_bytes(figure: Figure, kinds: Sequence[str] = ("pdf", "png")) -> dict[str, bytes]:
    """Write a figure, the same each time, and let go of it."""
    files = {}
    with style():
        for kind in kinds:
            buffer = BytesIO()
            figure.savefig(buffer, format=kind, metadata=_METADATA[kind])
            files[kind] = buffer.getvalue()
    plt.close(figure)
    return files


def style() -> AbstractContextManager[None]:
    """Return the context in which all figures are drawn."""
    return plt.style.context(STYLE)


def new_figure(height: float) -> Figure:
    """Make an empty figure of one column's width; to be called within the style."""
    return plt.figure(figsize=(WIDTH, height))


def note(figure: Figure, text: str) -> None:
    """Say above a figure what its n and its bands are."""
    figure.suptitle(textwrap.fill(text, _NOTE_COLUMNS), **_NOTE)


def stage_panels(
    figure: Figure, titles: Sequence[str], *, sharey: bool = True
) -> tuple[list[Axes], Axes]:
    """Lay out three panels in a square; the fourth corner is for the legend."""
    grid = figure.subplots(2, 2, sharey=False)
    panels, corner = list(grid.ravel()[:3]), grid[1, 1]
    for panel, title in zip(panels, titles, strict=True):
        panel.set_title(title)
        if sharey:
            panel.sharey(panels[0])
    corner.axis("off")
    return panels, corner


def corner_legend(corner: Axes, panel: Axes, **options: Any) -> None:
    """Put a panel's legend into the empty corner."""
    handles, labels = panel.get_legend_handles_labels()
    corner.legend(handles, labels, loc="center", **options)


def legend_below(figure: Figure, panel: Axes, **options: Any) -> None:
    """Put a panel's legend below all panels."""
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", **options)


def probe_ticks(panel: Axes, probes: Sequence[int]) -> None:
    """Mark each k on a logarithmic axis."""
    panel.set_xscale("log")
    panel.set_xticks(probes, [str(k) for k in probes])
    panel.minorticks_off()
    panel.set_xlabel("probes k")


def not_run(name: str, missing: str) -> Figure:
    """Draw in a figure's place which records it lacks."""
    with style():
        figure = new_figure(1.2)
        text = f"{name}: not run\nmissing in analysis/records:\n{missing}"
        figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure
