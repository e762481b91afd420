"""FFA's relative error on captured maps: against k, and the chance of each ε at k = 15."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from scipy.stats import binomtest

import faqd_math as fm
from analysis.ffa_error import Array, error_curves, relative_errors
from analysis.studies.inputs import Pairs
from faqd_math.theory.bounds import gaussian_bounds
from faqd_math.theory.planning import typical_error

TAIL_PROBES = 15  # the released code's
TAIL_DRAWS = 5  # times the other measurements
EPSILONS = tuple(round(0.05 * i, 2) for i in range(1, 20))
# ε and δ of the table of probes needed.
ASKED = ((0.5, 0.05), (0.3, 0.05), (0.1, 0.05), (0.3, 0.01))


def probe_errors(
    pairs: Pairs, about: str, *, rng: np.random.Generator, replications: int = 2000
) -> dict[str, Any]:
    """Measure and compute on the first sample of each pair; the exact law alone on all samples.

    Parameters
    ----------
    pairs : mapping of tap to two arrays (B, C, H, W)
        The student's maps and the teacher's.
    about : str
        What the maps are.
    rng : numpy.random.Generator
        Source of the probes.
    replications : int
        Draws of each measured error.
    """
    stages = {
        tap: _stage(student, teacher, replications, rng)
        for tap, (student, teacher) in pairs.items()
    }
    return {
        "about": about,
        "delta": next(iter(stages.values()))["delta"],
        "replications": replications,
        "epsilons": EPSILONS,
        "tail_probes": TAIL_PROBES,
        "tail_draws": TAIL_DRAWS * replications,
        "stages": stages,
    }


def stage_errors(
    students: Array, teachers: Array, replications: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Give the first sample's error curves, and the exact law's of all samples (B, C, H, W)."""
    curves = error_curves(students[0], teachers[0], rng=rng, replications=replications)
    return asdict(curves) | {
        "exact_of_all": [
            [typical_error(fm.gap_spectrum(s, t), k, curves.delta) for k in curves.probes]
            for s, t in zip(students, teachers, strict=True)
        ],
    }


def _stage(
    students: Array, teachers: Array, replications: int, rng: np.random.Generator
) -> dict[str, Any]:
    student, teacher = students[0], teachers[0]
    spectrum = fm.gap_spectrum(student, teacher)
    draws = relative_errors(student, teacher, TAIL_PROBES, TAIL_DRAWS * replications, rng)
    laws = {"exact law": fm.law.failure_probability, **gaussian_bounds()}
    return {
        **stage_errors(students, teachers, replications, rng),
        "channels": [len(student), len(teacher)],
        "stable_rank": fm.stable_rank(spectrum),
        "tails": _measured_tails(draws)
        | {
            name: [float(law(spectrum, TAIL_PROBES, epsilon)) for epsilon in EPSILONS]
            for name, law in laws.items()
        },
        "needed": [_needed(spectrum, epsilon, delta) for epsilon, delta in ASKED],
    }


def _measured_tails(errors: Array) -> dict[str, list[float]]:
    """Shares of the draws by ε, with exact 95 % confidence intervals (Clopper & Pearson 1934)."""
    counts = [int((errors >= epsilon).sum()) for epsilon in EPSILONS]
    intervals = [binomtest(count, len(errors)).proportion_ci(0.95) for count in counts]
    return {
        "measured": [count / len(errors) for count in counts],
        "low": [float(interval.low) for interval in intervals],
        "high": [float(interval.high) for interval in intervals],
    }


def _needed(spectrum: Array, epsilon: float, delta: float) -> dict[str, Any]:
    """Smallest k for a relative error ε at failure probability δ, by the law and each bound."""
    by_bound = {
        name: fm.bounds.probes_needed(bound, spectrum, epsilon, delta)
        for name, bound in gaussian_bounds().items()
    }
    exact = fm.law.probes_needed(spectrum, epsilon, delta)
    return {"epsilon": epsilon, "delta": delta, "probes": {"exact law": exact, **by_bound}}
