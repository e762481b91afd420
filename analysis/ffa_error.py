"""FFA's relative error against the number of probes: measured, by the exact law, by the bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import faqd_math as fm
from faqd_math.theory.bounds import TailProbability
from faqd_math.theory.planning import typical_error

Array = NDArray[np.float64]

BOUNDS: Mapping[str, TailProbability] = {
    "Chebyshev (B1)": fm.bounds.chebyshev,
    "Cortinovis & Kressner (B4)": fm.bounds.cortinovis_kressner,
    "stable rank (B6)": fm.bounds.stable_rank_tail,
    "Chernoff (B9)": fm.bounds.chernoff,
}


@dataclass(frozen=True)
class ErrorCurves:
    """Relative errors that FFA exceeds with probability delta, by number of probes."""

    n: int
    effective_rank: float
    delta: float
    replications: int
    probes: Sequence[int]
    measured: Sequence[float]
    exact: Sequence[float]
    bounds: Mapping[str, Sequence[float]]


def error_curves(
    student: Array,
    teacher: Array,
    *,
    rng: np.random.Generator,
    probes: Sequence[int] = (1, 2, 4, 8, 15, 32, 64),
    delta: float = 0.05,
    replications: int = 2000,
) -> ErrorCurves:
    """Measure and compute the errors of one sample's maps (C, H, W)."""
    spectrum = fm.gap_spectrum(student, teacher)
    return ErrorCurves(
        n=student[0].size,
        effective_rank=fm.effective_rank(spectrum),
        delta=delta,
        replications=replications,
        probes=probes,
        measured=[
            float(np.quantile(relative_errors(student, teacher, k, replications, rng), 1 - delta))
            for k in probes
        ],
        exact=[typical_error(spectrum, k, delta) for k in probes],
        bounds={
            name: [typical_error(spectrum, k, delta, probability=bound) for k in probes]
            for name, bound in BOUNDS.items()
        },
    )


def relative_errors(
    student: Array, teacher: Array, k: int, replications: int, rng: np.random.Generator
) -> Array:
    """|T − μ|/μ of independent draws, for one sample's maps (C, H, W)."""
    exact = fm.fa_loss(student, teacher)
    n = student[0].size
    draws = (fm.sample_probes(n, k, rng=rng) for _ in range(replications))
    return np.abs(np.array([fm.ffa_loss(student, teacher, z) for z in draws]) / exact - 1)
