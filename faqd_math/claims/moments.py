"""Claims on means and variances over the probes, checked by replication (§3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from faqd_math._validation import Array
from faqd_math.claims.chance import ROUNDING, estimate_is
from faqd_math.claims.estimates import copies, ffa_replications, fresh_probes
from faqd_math.claims.evidence import Claim, Evidence, Sampling
from faqd_math.claims.subjects import Batch, Case
from faqd_math.confidence import mean_estimate, variance_estimate
from faqd_math.features import affinity, unit_pixel_pair
from faqd_math.gradients import unit_fa_gradient, unit_ffa_gradient
from faqd_math.losses import fa_loss, ffa_loss
from faqd_math.probes import ProbeLaw, sample_probes
from faqd_math.theory import moments, order_one
from faqd_math.theory.law import tail_probability

# Of an expectation under the exact law.
_QUADRATURE = 1e-9
# Channels to which P12 sends the teacher's: above 4, where the variance becomes finite.
_CHANNELS = 16
# Unit pixels of the random maps held at once: 16 MiB of float64.
_CHUNK_ENTRIES = 2**21


def _mean_is(samples: Array, expected: float, sampling: Sampling) -> Evidence:
    return estimate_is(mean_estimate(samples), expected, sampling, ROUNDING)


def _variance_is(samples: Array, expected: float, sampling: Sampling) -> Evidence:
    return estimate_is(variance_estimate(samples), expected, sampling, ROUNDING)


def _unbiased(case: Case, sampling: Sampling) -> Evidence:
    return _mean_is(ffa_replications(case, sampling), 1.0, sampling)


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
    exact = _expectation(case, sampling, lambda t: 3 * (t - 1) ** 2) - 1
    return Evidence(exact / stated, 1.0, "=", _QUADRATURE / stated)


def _root_bias(case: Case, sampling: Sampling) -> Evidence:
    """1 − E√(T/μ) under the exact law, relative to 1/(4kρ)."""
    exact = 1 - _expectation(case, sampling, lambda t: 0.5 / np.sqrt(t))
    stated = 1 - moments.root_mean(case.spectrum, sampling.k) / np.sqrt(case.mu)
    # The delta method leaves out Σλ⁶/(2k²μ³) and smaller terms.
    left_out = moments.third_cumulant(case.spectrum, sampling.k) / (8 * case.mu**3)
    allowance = (0.5 + 1 / sampling.k) * left_out + _QUADRATURE
    return Evidence(exact / stated, 1.0, "=", allowance / stated)


def _expectation(case: Case, sampling: Sampling, slope: Callable[[Array], Array]) -> float:
    """E g(T/μ) − g(0) = ∫ g'(t) P(T/μ ≥ t) dt."""
    t, weights = sampling.shared("survival", case, lambda own: _survival(case, own.k))
    return float((weights * slope(t)).sum())


def _survival(case: Case, k: int) -> Array:
    """Nodes t and weights that integrate against P(T/μ ≥ t), by Gauss and Legendre on five pieces.

    With t = s² the integrand is smooth at 0 for the slopes used here.
    """
    deviation = np.sqrt(2 / (k * case.effective_rank))
    ends = np.sqrt([0, max(1 - 4 * deviation, 0.25), *(1 + deviation * np.array([0, 4, 16, 40]))])
    nodes, weights = np.polynomial.legendre.leggauss(24)
    half = np.diff(ends)[:, np.newaxis] / 2
    s = (ends[:-1, np.newaxis] + half * (nodes + 1)).ravel()
    weights = (half * weights).ravel()
    return np.stack([s**2, 2 * s * weights * tail_probability(case.spectrum, k, case.mu * s**2)])


def _shared_probes(batch: Batch, sampling: Sampling) -> Evidence:
    """Variance of Σ_b T_b under shared probes, relative to (Σ_b μ_b)²."""
    n = batch.student[0, 0].size
    total = float(fa_loss(batch.student, batch.teacher, reduction="sum"))
    sums = [
        ffa_loss(
            batch.student,
            batch.teacher,
            sample_probes(n, sampling.k, rng=sampling.rng),
            reduction="sum",
        )
        for _ in range(sampling.replications)
    ]
    stated = moments.shared_probes_variance(batch.student, batch.teacher, sampling.k)
    return _variance_is(np.array(sums) / total, stated / (n**2 * total) ** 2, sampling)


def _price_of_sharing(batch: Batch, sampling: Sampling) -> Evidence:
    """Variance under shared probes over that under independent ones: at most the batch's size."""
    shared = moments.shared_probes_variance(batch.student, batch.teacher, sampling.k)
    independent = moments.independent_probes_variance(batch.student, batch.teacher, sampling.k)
    size = float(len(batch.student))
    return Evidence(shared / independent, size, "<=", size * ROUNDING)


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
    return _mean_is(squares / expected, 1.0, sampling)


def _order_one_mean(case: Case, sampling: Sampling) -> Evidence:
    expected = case.n**2 * order_one.ffa_mean(case.student, case.teacher)
    samples = ffa_replications(case, sampling, order=1)
    return _mean_is(samples / expected, 1.0, sampling)


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
    return _mean_is(np.concatenate(samples) / expected, 1.0, sampling)


def _random_maps(case: Case, sampling: Sampling) -> Evidence:
    """Mean loss of random gaussian maps of the teacher, within the band that P12 states."""
    stated = moments.projected_loss(case.teacher, _CHANNELS)
    samples = np.concatenate(list(_losses_of_random_maps(case.teacher, sampling)))
    squares = affinity(case.teacher) ** 2
    alive = squares.diagonal() > 0
    weights = (1 - squares) ** 2 * np.outer(alive, alive)
    mean_square = (weights * squares).sum() / (weights.sum() or 1.0)
    band = stated * (_largest_ratio(_CHANNELS) - 1) * float(mean_square)
    # The loss of parallel pixels is all rounding, and 0 is stated.
    slack = band / 2 + ROUNDING * stated + float(np.finfo(np.float64).eps)
    return estimate_is(mean_estimate(samples), stated + band / 2, sampling, slack)


def _losses_of_random_maps(teacher: Array, sampling: Sampling) -> Iterator[Array]:
    chunk = max(1, _CHUNK_ENTRIES // ((len(teacher) + _CHANNELS) * teacher[0].size))
    for start in range(0, sampling.replications, chunk):
        size = min(chunk, sampling.replications - start)
        maps = sampling.rng.standard_normal((size, _CHANNELS, len(teacher)))
        student = (maps @ teacher.reshape(len(teacher), -1)).reshape(size, -1, *teacher.shape[1:])
        same = np.broadcast_to(teacher, (size, *teacher.shape))
        yield fa_loss(student, same, reduction="none")


def _largest_ratio(channels: int) -> float:
    """E(r − s)² over (1 − s²)²/C as s → 1, r the cosine of C gaussian pairs of correlation s.

    There 1 − r ≈ (1 − s)·χ²_{C−1}/χ²_C. The ratio is 1 at s = 0 and convex in s².
    """
    return (1 - 1 / (4 * channels)) / ((1 - 2 / channels) * (1 - 4 / channels))


MOMENTS = (
    Claim("P1", "replication", _unbiased),
    Claim("P2", "replication", partial(_relative_variance, law="gaussian")),
    Claim("P3", "replication", partial(_relative_variance, law="rademacher")),
    Claim("P4", "replication", partial(_relative_variance, law="sphere")),
    Claim("P5", "exact law", _third_cumulant),
    Claim("P6", "replication", _shared_probes, on=Batch),
    Claim("P6B", "identity", _price_of_sharing, on=Batch),
    Claim("P7", "exact law", _root_bias),
    Claim("P8", "replication", _gradient_noise),
    Claim("P9", "replication", _order_one_mean),
    Claim("P10", "replication", _order_one_variance),
    Claim("P11", "replication", _order_one_estimate),
    Claim("P12", "replication", _random_maps),
)
