"""Claims on means and variances over the probes, checked by replication (§3)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from faqd_math import moments, order_one
from faqd_math._validation import Array
from faqd_math.claims.estimates import copies, ffa_replications, fresh_probes
from faqd_math.claims.evidence import Case, Claim, Evidence, Sampling
from faqd_math.confidence import mean_estimate, variance_estimate
from faqd_math.features import unit_pixel_pair
from faqd_math.gradients import unit_fa_gradient, unit_ffa_gradient
from faqd_math.law import tail_probability
from faqd_math.losses import fa_loss
from faqd_math.probes import ProbeLaw

# Beside chance: the rounding of a relative value, from sums of up to some 10⁴ terms.
_ROUNDING = 1e-11
# Of an expectation under the exact law.
_QUADRATURE = 1e-9


def _mean_is(samples: Array, expected: float, sampling: Sampling, slack: float) -> Evidence:
    measured, half_width = mean_estimate(samples, sampling.false_alarm)
    return Evidence(measured, expected, "=", half_width + slack)


def _variance_is(samples: Array, expected: float, sampling: Sampling) -> Evidence:
    measured, half_width = variance_estimate(samples, sampling.false_alarm)
    return Evidence(measured, expected, "=", half_width + _ROUNDING)


def _unbiased(case: Case, sampling: Sampling) -> Evidence:
    return _mean_is(ffa_replications(case, sampling), 1.0, sampling, _ROUNDING)


def _relative_variance(case: Case, sampling: Sampling, *, law: ProbeLaw) -> Evidence:
    match law:
        case "rademacher":
            expected = moments.rademacher_variance(case.student, case.teacher, sampling.k)
        case "sphere":
            expected = moments.sphere_variance(case.spectrum, sampling.k, case.n)
        case _:
            expected = moments.variance(case.spectrum, sampling.k)
    return _variance_is(ffa_replications(case, sampling, law=law), expected / case.mu**2, sampling)


def _third_cumulant(case: Case, sampling: Sampling) -> Evidence:
    """E(T − μ)³ under the exact law, relative to what P5 states."""
    stated = moments.third_cumulant(case.spectrum, sampling.k) / case.mu**3
    exact = _expectation(case, sampling.k, lambda t: 3 * (t - 1) ** 2) - 1
    return Evidence(exact / stated, 1.0, "=", _QUADRATURE / stated)


def _root_bias(case: Case, sampling: Sampling) -> Evidence:
    """1 − E√(T/μ) under the exact law, relative to 1/(4kρ)."""
    exact = 1 - _expectation(case, sampling.k, lambda t: 0.5 / np.sqrt(t))
    stated = 1 - moments.root_mean(case.spectrum, sampling.k) / np.sqrt(case.mu)
    # The delta method leaves out Σλ⁶/(2k²μ³) and smaller terms.
    left_out = moments.third_cumulant(case.spectrum, sampling.k) / (8 * case.mu**3)
    allowance = (0.5 + 1 / sampling.k) * left_out + _QUADRATURE
    return Evidence(exact / stated, 1.0, "=", allowance / stated)


def _expectation(case: Case, k: int, slope: Callable[[Array], Array]) -> float:
    """E g(T/μ) − g(0) = ∫ g'(t) P(T/μ ≥ t) dt, by Gauss and Legendre's rule on five pieces.

    With t = s² the integrand is smooth at 0 for the slopes used here.
    """
    deviation = np.sqrt(2 / (k * case.effective_rank))
    total, left, nodes, weights = 0.0, 0.0, *np.polynomial.legendre.leggauss(24)
    ends = [max(1 - 4 * deviation, 0.25), *(1 + deviation * np.array([0, 4, 16, 40]))]
    for right in np.sqrt(ends):
        s = left + (right - left) * (nodes + 1) / 2
        survival = [tail_probability(case.spectrum, k, float(value)) for value in case.mu * s**2]
        total += (right - left) / 2 * float((weights * slope(s**2) * 2 * s * survival).sum())
        left = right
    return total


def _gradient_noise(case: Case, sampling: Sampling) -> Evidence:
    """Mean of ‖Ĝ − G‖² relative to what P8 states."""
    x, y, _ = unit_pixel_pair(case.student[np.newaxis], case.teacher[np.newaxis])
    exact = unit_fa_gradient(x, y)
    squares = np.concatenate(
        [
            ((unit_ffa_gradient(x, y, probes) - exact) ** 2).sum(axis=(-2, -1))
            for _, probes in fresh_probes(case, sampling)
        ]
    )
    expected = moments.gradient_noise(case.student, case.teacher, sampling.k)
    return _mean_is(squares / expected, 1.0, sampling, _ROUNDING)


def _order_one_mean(case: Case, sampling: Sampling) -> Evidence:
    expected = case.n**2 * order_one.ffa_mean(case.student, case.teacher)
    samples = ffa_replications(case, sampling, order=1)
    return _mean_is(samples / expected, 1.0, sampling, _ROUNDING)


def _order_one_variance(case: Case, sampling: Sampling) -> Evidence:
    scale = order_one.ffa_mean(case.student, case.teacher)
    expected = order_one.ffa_variance(case.student, case.teacher, sampling.k) / scale**2
    samples = ffa_replications(case, sampling, order=1) / (case.n**2 * scale)
    return _variance_is(samples, expected, sampling)


def _order_one_estimate(case: Case, sampling: Sampling) -> Evidence:
    samples = []
    for size, _ in fresh_probes(case, sampling):
        probes = order_one.sample_cauchy_probes(case.n, sampling.k, rng=sampling.rng, batch=size)
        samples.append(
            order_one.fa_order_one_estimate(*copies(case, size), probes, reduction="none")
        )
    expected = fa_loss(case.student, case.teacher, order=1)
    return _mean_is(np.concatenate(samples) / expected, 1.0, sampling, _ROUNDING)


MOMENTS = (
    Claim("P1", "FFA is unbiased: E T = μ.", "Hutchinson 1989", "replication", _unbiased),
    Claim(
        "P2",
        "Var T/μ² = 2/(kρ), gaussian probes.",
        "Avron & Toledo 2011",
        "replication",
        partial(_relative_variance, law="gaussian"),
    ),
    Claim(
        "P3",
        "Rademacher probes: Var T lacks the diagonal of A².",
        "Hutchinson 1989",
        "replication",
        partial(_relative_variance, law="rademacher"),
    ),
    Claim(
        "P4",
        "Sphere probes: Var T = 2(N·S₄ − μ²)/(k(N+2)).",
        "derived",
        "replication",
        partial(_relative_variance, law="sphere"),
    ),
    Claim("P5", "E(T − μ)³ = 8Σλ⁶/k² (ratio).", "derived", "exact law", _third_cumulant),
    Claim("P7", "√T is biased low by 1/(4kρ) (ratio).", "derived", "exact law", _root_bias),
    Claim("P8", "FFA's gradient noise is as stated.", "derived", "replication", _gradient_noise),
    Claim(
        "P9",
        "Order 1 estimates √(2/π)Σ‖a_i‖, not Σ|a_ij|.",
        "derived",
        "replication",
        _order_one_mean,
    ),
    Claim("P10", "Its variance is as stated.", "derived", "replication", _order_one_variance),
    Claim(
        "P11",
        "Cauchy probes estimate the true order 1.",
        "Li, Hastie & Church 2006",
        "replication",
        _order_one_estimate,
    ),
)
