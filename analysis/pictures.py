"""The three pictures of the demo; each function draws what it is given and computes nothing new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

import faqd_math as fm
from analysis.ffa_error import Array, ErrorCurves

STYLE = Path(__file__).with_name("faqd.mplstyle")


def save(figure: Figure, path: Path) -> None:
    """Write a picture in the project's style and let go of it."""
    with plt.style.context(STYLE):
        figure.savefig(path)
    plt.close(figure)


def affinity_maps(
    image: Array,
    teacher: Mapping[str, Array],
    before: Mapping[str, Array],
    after: Mapping[str, Array],
) -> Figure:
    """Show one image's affinity matrices by tap: teacher, student before and after.

    Parameters
    ----------
    image : array (H, W)
        The image that the networks saw.
    teacher, before, after : mappings of tap to array (C, H, W)
        Feature maps of the teacher, and of the student before and after training; non-negative,
        as behind a ReLU, so that cosines lie between 0 and 1.
    """
    columns = {"teacher": teacher, "student before": before, "student after": after}
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(
            len(teacher),
            4,
            figsize=(7.2, 1.9 * len(teacher)),
            squeeze=False,
            gridspec_kw={"width_ratios": [0.7, 1, 1, 1]},
        )
        for row, tap in zip(axes, teacher, strict=True):
            for panel in row:
                panel.grid(False)
                panel.set(xticks=[], yticks=[])
                panel.spines[:].set_visible(False)
            for panel, (title, maps) in zip(row[1:], columns.items(), strict=True):
                drawn = panel.imshow(fm.affinity(maps[tap]), vmin=0, vmax=1)
                gap = fm.fa_loss(maps[tap], teacher[tap])
                panel.set_title(title if title == "teacher" else f"{title}\nFA = {gap:.3f}")
            height, width = teacher[tap].shape[1:]
            row[1].set_ylabel(f"{tap}: {height}×{width} pixels")
        axes[0, 0].imshow(image, cmap="gray_r")
        axes[0, 0].set_title("image")
        for panel in axes[1:, 0]:
            panel.set_visible(False)
        bar = figure.colorbar(drawn, ax=axes[:, 3], shrink=0.8, label="cosine of two pixels")
        bar.outline.set_visible(False)
        figure.suptitle("Affinity: every pixel against every other", x=0.01, ha="left")
    return figure


def error_against_probes(curves: Mapping[str, ErrorCurves]) -> Figure:
    """Show FFA's relative error against k by tap, with its exact law and its bounds.

    Parameters
    ----------
    curves : mapping of tap to ErrorCurves
        From `analysis.ffa_error.error_curves`.
    """
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(1, len(curves), figsize=(7.2, 3.3), sharey=True, squeeze=False)
        for panel, (tap, curve) in zip(axes[0], curves.items(), strict=True):
            for (name, errors), dashes in zip(curve.bounds.items(), cycle(_DASHES), strict=False):
                panel.loglog(curve.probes, errors, label=name, linestyle=dashes)
            panel.loglog(curve.probes, curve.exact, color="black", label="exact law")
            panel.loglog(
                curve.probes,
                curve.measured,
                "o",
                color="black",
                mfc="white",
                ms=4,
                label=f"measured, {curve.replications:,} draws",
            )
            panel.set_title(f"{tap}\nN = {curve.n}, effective rank {curve.effective_rank:.1f}")
            panel.set_xlabel("probes k")
            panel.set_xticks(curve.probes, [str(k) for k in curve.probes], minor=False)
            panel.minorticks_off()
            panel.set_yticks(_ERROR_TICKS, [f"{100 * error:g} %" for error in _ERROR_TICKS])
        axes[0, 0].set_ylabel(f"relative error, {100 * (1 - curve.delta):g}th percentile")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


_ERROR_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10)
_DASHES = ("-", (0, (5, 1.5)), (0, (2, 1.5)), (0, (5, 1.5, 1, 1.5)))


def training_curves(histories: Mapping[str, Sequence[Mapping[str, object]]]) -> Figure:
    """Show validation error and the FA term by epoch.

    Parameters
    ----------
    histories : mapping of run's name to its epochs
        The list ``epochs`` of each run.json.
    """
    with plt.style.context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.4))
        colours = plt.rcParams["axes.prop_cycle"].by_key()["color"]
        for (name, epochs), colour, dashes in zip(
            histories.items(), colours, _STYLES, strict=False
        ):
            number = [epoch["epoch"] for epoch in epochs]
            style = {"color": colour, "linestyle": dashes}
            error = [100 * (1 - epoch["validation_accuracy"]) for epoch in epochs]
            left.semilogy(number, np.maximum(error, 0.1), label=name, **style)
            if "fa" in epochs[0]["terms"]:
                right.plot(number, [epoch["terms"]["fa"] for epoch in epochs], **style)
        left.set(xlabel="epoch", ylabel="validation error (%)")
        left.set_yticks(_PERCENT_TICKS, [str(tick) for tick in _PERCENT_TICKS])
        left.minorticks_off()
        right.set(xlabel="epoch", ylabel="FA, summed over the taps", ylim=(0, None))
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


_PERCENT_TICKS = (0.3, 1, 3, 10, 30, 100)
_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
