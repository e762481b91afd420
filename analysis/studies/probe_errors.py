"""FFA's relative error on captured maps: against k, and the chance of each ε at k = 15."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import binomtest

import faqd_math as fm
from analysis.rendering.product import Product, Result
from analysis.rendering.tables import Row
from analysis.studies.probe_errors_figures import (
    draw_errors,
    draw_tails,
    error_rows,
    tail_rows,
)
from analysis.studies.study import Array, Pairs, Study
from faqd_math.theory.bounds import TailProbability, gaussian_bounds
from faqd_math.theory.planning import typical_error

PROBES = (1, 2, 4, 8, 15, 32, 64)
REPLICATIONS = 2000
DELTA = 0.05  # the probability of larger errors than those given
TAIL_PROBES = 15  # the released code's
TAIL_DRAWS = 5  # times the other measurements
EPSILONS = tuple(round(0.05 * i, 2) for i in range(1, 20))
# ε and δ of the table of probes needed.
ASKED = ((0.5, 0.05), (0.3, 0.05), (0.1, 0.05), (0.3, 0.01))


BOUNDS: Mapping[str, TailProbability] = {
    "Chebyshev (B1)": fm.bounds.chebyshev,
    "Cortinovis & Kressner (B4)": fm.bounds.cortinovis_kressner,
    "stable rank (B6)": fm.bounds.stable_rank_tail,
    "Chernoff (B9)": fm.bounds.chernoff,
}


def relative_errors(
    student: Array, teacher: Array, k: int, replications: int, rng: np.random.Generator
) -> Array:
    """|T − μ|/μ of independent draws, for one sample's maps (C, H, W)."""
    exact = fm.fa_loss(student, teacher)
    n = student[0].size
    draws = (fm.sample_probes(n, k, rng=rng) for _ in range(replications))
    return np.abs(np.array([fm.ffa_loss(student, teacher, z) for z in draws]) / exact - 1)


def probe_errors(
    pairs: Pairs, about: str, *, rng: np.random.Generator, replications: int = REPLICATIONS
) -> Result:
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
        "delta": DELTA,
        "replications": replications,
        "epsilons": EPSILONS,
        "tail_probes": TAIL_PROBES,
        "tail_draws": TAIL_DRAWS * replications,
        "stages": stages,
    }


def stage_errors(
    students: Array, teachers: Array, replications: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Give the errors that FFA exceeds with probability δ, by number of probes.

    Measured, by the exact law and by the bounds for the first sample's maps (C, H, W); by the exact
    law for all samples.
    """
    first = students[0], teachers[0]
    spectra = [fm.gap_spectrum(*maps) for maps in zip(students, teachers, strict=True)]
    measured = (relative_errors(*first, k, replications, rng) for k in PROBES)
    return {
        "n": students[0][0].size,
        "effective_rank": fm.effective_rank(spectra[0]),
        "delta": DELTA,
        "replications": replications,
        "probes": PROBES,
        "measured": [float(np.quantile(errors, 1 - DELTA)) for errors in measured],
        "exact": [typical_error(spectra[0], k, DELTA) for k in PROBES],
        "bounds": {
            name: [typical_error(spectra[0], k, DELTA, probability=bound) for k in PROBES]
            for name, bound in BOUNDS.items()
        },
        "exact_of_all": [[typical_error(s, k, DELTA) for k in PROBES] for s in spectra],
    }


def _stage(
    students: Array, teachers: Array, replications: int, rng: np.random.Generator
) -> dict[str, Any]:
    student, teacher = students[0], teachers[0]
    spectrum = fm.gap_spectrum(student, teacher)
    draws = relative_errors(student, teacher, TAIL_PROBES, TAIL_DRAWS * replications, rng)
    laws: dict[str, TailProbability] = {"exact law": fm.law.failure_probability}
    laws |= gaussian_bounds()
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


def needed_rows(result: Result) -> list[Row]:
    """Give the smallest k by the exact law and each bound, for every stage and request."""
    return [
        {
            "stage": tap,
            "N": stage["n"],
            "ρ": round(stage["effective_rank"], 1),
            "ε": asked["epsilon"],
            "δ": asked["delta"],
            **asked["probes"],
        }
        for tap, stage in result["stages"].items()
        for asked in stage["needed"]
    ]


STUDY = Study(
    name="probe-errors",
    keys=frozenset({"about", "stages", "delta", "replications"}),
    compute=lambda s: probe_errors(s.pairs, s.describe(), rng=s.rng),
    needs="maps",
    k=PROBES,
    replications=REPLICATIONS,
    products=(
        Product(
            name="error-against-probes",
            text="FFA's relative error falls like one over the root of k in each stage; measured "
            "errors lie on the exact law, and the bounds above it, Chernoff's closest.",
            draw=draw_errors,
            rows=error_rows,
        ),
        Product(
            name="tail-probability",
            text="The probability of a relative error falls with the error; every bound lies above "
            "the exact law, on which the measured shares lie.",
            draw=draw_tails,
            rows=tail_rows,
        ),
        Product(
            name="probes-needed",
            text="Smallest k for a relative error of at most ε but for probability δ: by the exact "
            "law and by each bound, on one image's captured maps.",
            rows=needed_rows,
        ),
    ),
)
