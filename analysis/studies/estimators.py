"""Estimates of FA of order 2 at one cost, that of FFA: error of the value and of the gradient.

Each estimate is replicated on each pair of maps; FFA with k gaussian probes sets the cost, in
multiply-adds of the forward pass (§4), that the others may spend.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

import faqd_math as fm
from analysis.rendering.product import Product, Result
from analysis.studies.estimators_figure import draw, rows
from analysis.studies.study import Array, Sources, Study
from faqd_math.claims import Case, cases_from_pairs
from faqd_math.features import unit_pixel_pair
from faqd_math.gradients import unit_fa_gradient, unit_ffa_gradient
from faqd_math.probes import ProbeLaw
from faqd_math.theory.estimators import (
    deflated_probes,
    pixels_at_cost,
    sample_pixels,
    sampled_fa_loss,
    unit_sampled_gradient,
)

_K, _REPLICATIONS, _IMAGES = 15, 400, 4
# One draw: the value, and the gradient by the student's unit pixels.
Draw = Callable[[np.random.Generator], tuple[float, Array]]


def compare_estimators(
    cases: Sequence[Case],
    *,
    rng: np.random.Generator,
    k: int = _K,
    replications: int = _REPLICATIONS,
) -> list[Result]:
    """Replicate every estimate on every pair of maps.

    Parameters
    ----------
    cases : sequence of Case
        From `faqd_math.claims.cases_from_pairs`.
    rng : numpy.random.Generator
        Source of probes and pixels.
    k : int
        Probes of FFA, which set the cost; at least 6.
    replications : int
        Draws of each estimate: errors are known to about 1/√(2·replications).

    Returns
    -------
    list of dict
        By maps and estimator: the relative error of the value and of the gradient by the student's
        unit pixels, each a root of the mean square, and the bias in its standard errors.
    """
    errors = []
    for case in cases:
        x, y, _ = unit_pixel_pair(case.student[np.newaxis], case.teacher[np.newaxis])
        for name, draw_one in _estimators(case, x, y, k).items():
            draws = [draw_one(rng) for _ in range(replications)]
            errors.append(_error(case, x, y, name, draws))
    return errors


def _estimators(case: Case, x: Array, y: Array, k: int) -> dict[str, Draw]:
    n, sketch = case.n, k // 3
    m = pixels_at_cost(n, len(case.student), len(case.teacher), k)

    def probed(probes: Array) -> tuple[float, Array]:
        return fm.ffa_loss(case.student, case.teacher, probes), unit_ffa_gradient(x, y, probes)

    def by_law(rng: np.random.Generator, law: ProbeLaw) -> tuple[float, Array]:
        return probed(fm.sample_probes(n, k, law=law, rng=rng))

    def deflated(rng: np.random.Generator) -> tuple[float, Array]:
        kept = k - sketch  # the sketch itself costs as much as its probes
        return probed(deflated_probes(case.student, case.teacher, kept, sketch=sketch, rng=rng))

    def sampled(rng: np.random.Generator) -> tuple[float, Array]:
        pixels = sample_pixels(n, m, rng=rng, batch=1)
        value = sampled_fa_loss(case.student, case.teacher, pixels)
        return value, unit_sampled_gradient(x, y, pixels)

    return {
        "FFA, gaussian": partial(by_law, law="gaussian"),
        "FFA, Rademacher": partial(by_law, law="rademacher"),
        "FFA, sphere": partial(by_law, law="sphere"),
        "FFA, orthogonal": partial(by_law, law="orthogonal"),
        "FFA, deflated": deflated,
        "sampled pixels": sampled,
    }


def _error(
    case: Case, x: Array, y: Array, estimator: str, draws: Sequence[tuple[float, Array]]
) -> Result:
    exact, gradient = fm.fa_loss(case.student, case.teacher), unit_fa_gradient(x, y)
    off = np.array([value / exact - 1 for value, _ in draws])
    squares = np.array([(_tangent(slope - gradient, x) ** 2).sum() for _, slope in draws])
    length = float((_tangent(gradient, x) ** 2).sum())
    spread = float(off.std(ddof=1)) / np.sqrt(len(draws))
    return {
        "maps": case.name,
        "estimator": estimator,
        "pixels": case.n,
        "student_channels": len(case.student),
        "teacher_channels": len(case.teacher),
        "effective_rank": case.effective_rank,
        "value_error": float(np.sqrt((off**2).mean())),
        "gradient_error": float(np.sqrt(squares.mean() / length)),
        "bias_in_errors": float(off.mean()) / spread if spread > 1e-12 else 0.0,
    }


def _tangent(gradient: Array, x: Array) -> Array:
    """Take off the radial part, which the normalisation of the pixels removes (I8)."""
    return gradient - x * (x * gradient).sum(axis=-2, keepdims=True)


def _compute(sources: Sources) -> Result:
    return {
        "about": sources.describe(),
        "k": _K,
        "replications": _REPLICATIONS,
        "errors": compare_estimators(cases_from_pairs(sources.pairs, _IMAGES), rng=sources.rng),
    }


STUDY = Study(
    name="estimators",
    keys=frozenset({"about", "k", "replications", "errors"}),
    compute=_compute,
    needs="maps",
    k=(_K,),
    replications=_REPLICATIONS,
    products=(
        Product(
            name="estimators",
            text="At equal cost the laws of the probes differ little; sampled pixels err least, in "
            "value and gradient.",
            draw=draw,
            rows=rows,
        ),
    ),
)
