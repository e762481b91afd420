"""The audit of FAQD's released losses: a claim holds where its defect is there (R1, R4–R6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from faqd_math._validation import Array
from faqd_math.claims.audit_training import TRAINING_AUDIT
from faqd_math.claims.chance import ROUNDING, estimate_is
from faqd_math.claims.estimates import copies, fresh_probes
from faqd_math.claims.evidence import Claim, Evidence, Sampling
from faqd_math.claims.subjects import Batch, Case
from faqd_math.confidence import Estimate, mean_estimate
from faqd_math.losses import Order, fa_loss, ffa_loss
from faqd_math.probes import sample_probes
from faqd_math.released import losses as released
from faqd_math.theory import moments, order_one

# Probes of one call: what matters is their total, and memory is N times this.
_PROBES_PER_CALL = 100
_ORDERS: tuple[Order, ...] = (1, 2)
# √N times the ratio of FFA to FA, both of order 1, is about 1; more than this would not be.
_LARGEST_RATIO = 2.0


def _other_norm(case: Case, sampling: Sampling) -> Evidence:
    """R1: √N times the mean of the released FFA of order 1, over FA of order 1.

    The standard error is P10's.
    """
    student, teacher = _revived(case, sampling)
    calls = sampling.replications // _PROBES_PER_CALL
    values = [
        released.ffa_loss(student, teacher, _probes(case.n, _PROBES_PER_CALL, sampling), order=1)
        for _ in range(calls)
    ]
    variance = order_one.ffa_variance(student, teacher, calls * _PROBES_PER_CALL)
    scale = np.sqrt(case.n) / fa_loss(student, teacher, order=1)
    ratio = Estimate(float(scale * np.mean(values)), float(scale * np.sqrt(variance)))
    expected = float(scale * order_one.ffa_mean(student, teacher))
    return estimate_is(ratio, min(expected, _LARGEST_RATIO), sampling, ROUNDING)


def _dead_pixel(case: Case, sampling: Sampling) -> Evidence:
    """R4: of both maps and orders, those where one dead pixel turns the released FFA into NaN.

    Ours must stay finite.
    """
    student, teacher = _revived(case, sampling)
    probes = _probes(case.n, sampling.k, sampling)
    killed = ((_one_dead(student), teacher), (student, _one_dead(teacher)))
    defects = 0
    for order in _ORDERS:
        live = np.isfinite(released.ffa_loss(student, teacher, probes, order))
        for s, t in killed:
            theirs = released.ffa_loss(s, t, probes, order)
            ours = ffa_loss(s, t, probes, order=order)
            defects += bool(live and np.isnan(theirs) and np.isfinite(ours))
    return Evidence(float(defects), 4.0, "=", 0.0)


def _one_dead(features: Array) -> Array:
    """Kill a corner's pixel, which stays where it is when a map is resized."""
    killed = features.copy()
    killed[:, 0, 0] = 0
    return killed


def _root_bias(batch: Batch, sampling: Sampling) -> Evidence:
    """R5: how far the released FFA of order 2 is low on a sample, relative to P7's 1/(4kρ).

    Our FFA on the same probes, whose mean is FA, is a control variate.
    """
    student, teacher = _revived(Case(batch.name, batch.student[0], batch.teacher[0]), sampling)
    case, k = Case(batch.name, student, teacher), sampling.k
    exact = fa_loss(student, teacher)
    # Two calls each, with random numbers other than those of the pixels revived.
    fewer = replace(
        sampling, replications=sampling.replications // 2, stream=(*sampling.stream, "probes")
    )
    draws = list(fresh_probes(case, fewer))
    square = (
        np.concatenate([ffa_loss(*copies(case, size), z, reduction="none") for size, z in draws])
        / exact
    )
    root = np.array(
        [released.ffa_loss(student, teacher, z, order=2) for _, probes in draws for z in probes]
    ) / np.sqrt(exact)
    covariance = np.cov(root, square)
    slope = covariance[0, 1] / covariance[1, 1]
    bias = 1 - moments.root_mean(case.spectrum, k) / np.sqrt(case.mu)
    samples = (1 - root + slope * (square - 1)) / bias
    # The delta method leaves out Σλ⁶/(2k²μ³) and smaller terms.
    left_out = moments.third_cumulant(case.spectrum, k) / (8 * case.mu**3)
    slack = float((0.5 + 1 / k) * left_out / bias)
    return estimate_is(mean_estimate(samples), 1.0, sampling, slack)


def _batch_growth(batch: Batch, sampling: Sampling) -> Evidence:
    """R6: growth of the released FA and FFA of order 1 on a doubled batch, over that of ours."""
    student, teacher = _revived(batch, sampling)
    probes = _probes(student.shape[-2] * student.shape[-1], sampling.k, sampling)

    def growth(loss: Callable[[Array, Array], float]) -> float:
        twice = loss(student.repeat(2, axis=0), teacher.repeat(2, axis=0))
        return twice / loss(student, teacher)

    ratios = (
        growth(released.fa_loss) / growth(lambda s, t: fa_loss(s, t, order=1)),
        growth(lambda s, t: released.ffa_loss(s, t, probes))
        / growth(lambda s, t: ffa_loss(s, t, probes, order=1)),
    )
    return Evidence(max(ratios, key=lambda ratio: abs(ratio - 2)), 2.0, "=", ROUNDING)


def _revived(maps: Case | Batch, sampling: Sampling) -> tuple[Array, Array]:
    """Fill dead pixels with noise, for the released FFA gives NaN where there is one (R4)."""
    student, teacher = (
        np.where(np.any(m != 0, axis=-3, keepdims=True), m, sampling.rng.standard_normal(m.shape))
        for m in (maps.student, maps.teacher)
    )
    return student, teacher


def _probes(n: int, k: int, sampling: Sampling) -> Array:
    return sample_probes(n, k, rng=sampling.rng)


AUDIT = tuple(
    sorted(
        (
            Claim("R1", "replication", _other_norm),
            Claim("R4", "identity", _dead_pixel),
            Claim("R5", "replication", _root_bias, on=Batch),
            Claim("R6", "identity", _batch_growth, on=Batch),
            *TRAINING_AUDIT,
        ),
        key=lambda claim: claim.id,
    )
)
