"""Affinity of one image's pixels: teacher, student before and after training."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

import faqd_math as fm
from analysis.rendering.figures import new_figure, note
from analysis.rendering.product import Product, Result
from analysis.rendering.tables import Row
from analysis.studies.study import Array, Pairs, Sources, Study, crop
from faqd_math.claims.feature_files import load_feature_pairs

# Side of what is shown at most: 16² pixels make 256² cosines.
_LARGEST_SIDE = 16
_NETWORKS = ("teacher", "student before", "student after")


def affinities(before: Pairs, after: Pairs, about: str) -> Result:
    """Take the first sample of each tap; cosines in percent, as two digits are all one can see."""
    taps = {}
    for tap, (student, teacher) in after.items():
        side = min(_LARGEST_SIDE, student.shape[-1])
        untrained, trained, target = (
            crop(maps[0], side) for maps in (before[tap][0], student, teacher)
        )
        taps[tap] = {
            "side": side,
            "map_side": student.shape[-1],
            "teacher": _percent(target),
            "student before": _percent(untrained),
            "student after": _percent(trained),
            "fa_before": fm.fa_loss(before[tap][0][0], before[tap][1][0]),
            "fa_after": fm.fa_loss(student[0], teacher[0]),
        }
    return {"about": about, "taps": taps}


def _percent(maps: Array) -> list[list[int]]:
    rounded: list[list[int]] = np.rint(100 * fm.affinity(maps)).astype(int).tolist()
    return rounded


def _compute(sources: Sources) -> Result:
    before, after = (
        load_feature_pairs(sources.folder / f"features_{moment}.npz")
        for moment in ("before", "after")
    )
    return affinities(before, after, sources.describe())


def draw(result: Result) -> Figure:
    """Draw one row for each tap, one column for each network."""
    taps = result["taps"]
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


def rows(result: Result) -> list[Row]:
    """Give FA by tap; the matrices are in the record."""
    return [
        {"tap": tap, "pixels": maps["side"] ** 2}
        | {"fa_before": maps["fa_before"], "fa_after": maps["fa_after"]}
        for tap, maps in result["taps"].items()
    ]


STUDY = Study(
    name="affinities",
    keys=frozenset({"about", "taps"}),
    compute=_compute,
    needs="run",
    draws=False,
    products=(
        Product(
            name="affinity-maps",
            text="Matrices of cosines between all pixels: the student's come to look like the "
            "teacher's through training.",
            draw=draw,
            rows=rows,
        ),
    ),
)
