"""What FFA of order 1 and 2 converge to as k grows, beside an estimate of the true order 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import faqd_math as fm
from analysis.studies.inputs import Array, Pairs

PROBES = (3, 5, 8, 15, 32, 64, 128)


def orders(
    pairs: Pairs, about: str, *, rng: np.random.Generator, replications: int = 200
) -> dict[str, Any]:
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
