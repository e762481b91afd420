"""What FFA of order 1 and 2 converge to as k grows, beside an estimate of the true order 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import faqd_math as fm
from analysis.rendering.figures import (
    DASHES,
    MARKERS,
    corner_legend,
    new_figure,
    note,
    probe_ticks,
    stage_panels,
)
from analysis.rendering.product import Product, Result
from analysis.rendering.tables import Row
from analysis.studies.study import Array, Pairs, Study

REPLICATIONS = 200
PROBES = (3, 5, 8, 15, 32, 64, 128)
_LARGEST = 2
_ESTIMATES = {
    "order 2": "FFA, order 2",
    "order 1, Cauchy": "order 1 by\nCauchy probes",
    "order 1": "FFA, order 1",
}


def orders(
    pairs: Pairs, about: str, *, rng: np.random.Generator, replications: int = REPLICATIONS
) -> Result:
    """Replicate three estimates on each tap's first sample, over the FA that each is meant for."""
    return {
        "about": about,
        "replications": replications,
        "probes": PROBES,
        "stages": {
            tap: _stage(student[0], teacher[0], rng, replications)
            for tap, (student, teacher) in pairs.items()
        },
    }


def _stage(
    student: Array, teacher: Array, rng: np.random.Generator, replications: int
) -> dict[str, Any]:
    n = student[0].size
    first, second = (fm.fa_loss(student, teacher, order=order) for order in (1, 2))

    def order_one(k: int) -> float:
        return fm.ffa_loss(student, teacher, fm.sample_probes(n, k, rng=rng), order=1) / first

    def order_two(k: int) -> float:
        return fm.ffa_loss(student, teacher, fm.sample_probes(n, k, rng=rng)) / second

    def cauchy(k: int) -> float:
        probes = fm.order_one.sample_cauchy_probes(n, k, rng=rng)
        return fm.order_one.fa_order_one_estimate(student, teacher, probes) / first

    return {
        "pixels": n,
        "order 1": _moments(order_one, replications),
        "order 1, limit by P9": fm.order_one.ffa_mean(student, teacher) / first,
        "order 1, Cauchy": _moments(cauchy, replications),
        "order 2": _moments(order_two, replications),
    }


def _moments(draw: Callable[[int], float], replications: int) -> list[dict[str, float]]:
    """Mean and standard deviation of the draws by k."""
    moments = []
    for k in PROBES:
        draws = np.array([draw(k) for _ in range(replications)])
        moments.append({"mean": float(draws.mean()), "sd": float(draws.std(ddof=1))})
    return moments


def draw(result: Result) -> Figure:
    """Draw one panel for each stage."""
    figure = new_figure(3.5)
    stages = result["stages"]
    panels, corner = stage_panels(figure, [f"{t}: N = {s['pixels']}" for t, s in stages.items()])
    for panel, stage in zip(panels, stages.values(), strict=True):
        _panel(panel, result["probes"], stage)
    for panel in (panels[0], panels[2]):
        panel.set_ylabel("estimate over FA")
    corner_legend(corner, panels[0], borderaxespad=0)
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


def rows(result: Result) -> list[Row]:
    """Give mean and deviation of every estimate, and the limit."""
    return [
        {"stage": tap, "pixels": stage["pixels"], "estimate": key, "k": k, **moment}
        | {"limit_of_order_1": stage["order 1, limit by P9"]}
        for tap, stage in result["stages"].items()
        for key in _ESTIMATES
        for k, moment in zip(result["probes"], stage[key], strict=True)
    ]


STUDY = Study(
    name="orders",
    keys=frozenset({"about", "stages", "replications"}),
    compute=lambda s: orders(s.pairs, s.describe(), rng=s.rng),
    needs="maps",
    k=PROBES,
    replications=REPLICATIONS,
    products=(
        Product(
            name="order-one-against-order-two",
            text="FFA of order 2 and the Cauchy estimate have FA as their mean; FFA of order 1 has "
            "a mean far below FA of order 1, whatever k.",
            draw=draw,
            rows=rows,
        ),
    ),
)
