"""Noise of FFA's gradient and value against k and N, measured and by P2 and P8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import faqd_math as fm
from analysis.rendering.figures import MARKERS, new_figure, note, probe_ticks
from analysis.rendering.product import Product, Result
from analysis.rendering.tables import Row
from analysis.studies.study import Array, Pairs, Study, crop
from faqd_math.features import unit_pixel_pair
from faqd_math.gradients import unit_fa_gradient, unit_ffa_gradient

PROBES = (1, 2, 4, 8, 15, 32, 64)
SIDES = (4, 8, 16, 32)
_K = 15
REPLICATIONS = 400
_KINDS = {"gradient": ("-", True), "value": ("--", False)}


def gradient_noise(
    pairs: Pairs, about: str, *, rng: np.random.Generator, replications: int = REPLICATIONS
) -> Result:
    """Replicate FFA on the first sample: by k on every tap, by N on crops of the largest map."""
    firsts = {tap: (student[0], teacher[0]) for tap, (student, teacher) in pairs.items()}
    largest = max(firsts, key=lambda tap: firsts[tap][0][0].size)
    student, teacher = firsts[largest]
    return {
        "about": about,
        "replications": replications,
        "probes": PROBES,
        "by_probes": {
            tap: [_noise(s, t, k, rng, replications) for k in PROBES]
            for tap, (s, t) in firsts.items()
        },
        "cropped": largest,
        "k": _K,
        "by_pixels": [
            _noise(crop(student, side), crop(teacher, side), _K, rng, replications)
            for side in SIDES
            if side <= student.shape[-1]
        ],
    }


def _noise(
    student: Array, teacher: Array, k: int, rng: np.random.Generator, replications: int
) -> dict[str, float]:
    """Root mean square errors over the sizes of what is estimated."""
    x, y, _ = unit_pixel_pair(student[np.newaxis], teacher[np.newaxis])
    exact, gradient, n = fm.fa_loss(student, teacher), unit_fa_gradient(x, y), x.shape[-1]
    values, squares = np.empty(replications), np.empty(replications)
    for i in range(replications):
        z = fm.sample_probes(n, k, rng=rng)
        values[i] = fm.ffa_loss(student, teacher, z) / exact - 1
        squares[i] = ((unit_ffa_gradient(x, y, z) - gradient) ** 2).sum()
    length = float((gradient**2).sum())
    spectrum = fm.gap_spectrum(student, teacher)
    predicted = fm.moments.gradient_noise(student, teacher, k) / length
    return {
        "pixels": n,
        "k": k,
        "gradient_measured": float(np.sqrt(squares.mean() / length)),
        "gradient_predicted": float(np.sqrt(predicted)),
        "value_measured": float(np.sqrt((values**2).mean())),
        "value_predicted": float(np.sqrt(2 / (k * fm.effective_rank(spectrum)))),
    }


def draw(result: Result) -> Figure:
    """Draw the noise against k by stage, and against N on crops."""
    figure = new_figure(3.0)
    left, right = figure.subplots(1, 2, sharey=True)
    for number, (tap, noises) in enumerate(result["by_probes"].items()):
        _lines(left, result["probes"], noises, number, f"{tap}, N = {noises[0]['pixels']}")
    probe_ticks(left, result["probes"])
    crops = result["by_pixels"]
    pixels = [noise["pixels"] for noise in crops]
    _lines(right, pixels, crops, 3, f"crops of {result['cropped']}")
    right.set_xscale("log")
    right.set_xticks(pixels, [str(n) for n in pixels])
    right.minorticks_off()
    right.set_xlabel("pixels N")
    right.set_title(f"crops, k = {result['k']}")
    left.set_title("by stage")
    left.set_yscale("log")
    left.set_ylabel("relative error, rms")
    ticks = (0.1, 0.3, 1, 3, 10, 30)
    left.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    left.minorticks_off()
    handles, labels = left.get_legend_handles_labels()
    more = right.get_legend_handles_labels()
    figure.legend(handles + more[0], labels + more[1], loc="outside lower center", ncols=2)
    note(
        figure,
        f"{result['about']}, one image. Markers: rms of {result['replications']} draws. "
        f"Lines: theory. Filled, solid: gradient (P8). Open, dashed: value (P2).",
    )
    return figure


def _lines(
    panel: Any, x: Sequence[int], noises: Sequence[Mapping[str, float]], number: int, label: str
) -> None:
    colour, marker = f"C{number}", MARKERS[number]
    for kind, (dashes, filled) in _KINDS.items():
        panel.plot(x, [noise[f"{kind}_predicted"] for noise in noises], dashes, color=colour)
        panel.plot(
            x,
            [noise[f"{kind}_measured"] for noise in noises],
            marker,
            color=colour,
            mfc=colour if filled else "white",
            label=label if filled else None,
        )


def rows(result: Result) -> list[Row]:
    """Give measured and predicted noise of every point."""
    by_tap = {**result["by_probes"], f"crops of {result['cropped']}": result["by_pixels"]}
    return [{"maps": tap, **noise} for tap, noises in by_tap.items() for noise in noises]


STUDY = Study(
    name="gradient-noise",
    keys=frozenset({"about", "by_probes", "by_pixels", "replications"}),
    compute=lambda s: gradient_noise(s.pairs, s.describe(), rng=s.rng),
    needs="maps",
    k=PROBES,
    replications=REPLICATIONS,
    products=(
        Product(
            name="gradient-noise",
            text="The gradient's relative noise is far above the value's, falls like one over the "
            "root of k and grows with the number of pixels; measured points lie on the theory's "
            "lines.",
            draw=draw,
            rows=rows,
        ),
    ),
)
