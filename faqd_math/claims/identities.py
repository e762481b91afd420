"""Claims that hold for every input, checked up to rounding (§2)."""

from __future__ import annotations

import numpy as np

from faqd_math._validation import Array
from faqd_math.claims.evidence import Claim, Evidence, Sampling
from faqd_math.claims.subjects import Case
from faqd_math.features import affinity, resize_bilinear, unit_pixels
from faqd_math.gradients import fa_gradient, ffa_gradient
from faqd_math.losses import fa_loss, ffa_loss
from faqd_math.probes import sample_probes
from faqd_math.theory.order_one import ffa_mean


def rounding(case: Case) -> float:
    """Absolute error of a loss that float64 explains: a few roundings for each summed term."""
    terms = case.n + len(case.student) + len(case.teacher) + 8
    return 8 * terms * float(np.finfo(np.float64).eps)


def _cosines(case: Case, _: Sampling) -> Evidence:
    largest = max(np.abs(affinity(m)).max() for m in (case.student, case.teacher))
    return Evidence(float(largest), 1.0, "<=", rounding(case))


def _range(case: Case, _: Sampling) -> Evidence:
    return Evidence(fa_loss(case.student, case.teacher), 2.0, "<=", rounding(case))


def _gram(case: Case, _: Sampling) -> Evidence:
    gram = fa_loss(case.student, case.teacher, method="gram")
    direct = fa_loss(case.student, case.teacher, method="direct")
    return Evidence(gram, direct, "=", rounding(case))


def _spectrum(case: Case, _: Sampling) -> Evidence:
    direct = fa_loss(case.student, case.teacher, method="direct")
    return Evidence(case.mu / case.n**2, direct, "=", rounding(case))


def _trace(case: Case, _: Sampling) -> Evidence:
    live = [int(np.any(m != 0, axis=0).sum()) for m in (case.student, case.teacher)]
    # Each of the eigenvalues, up to N in size, carries a relative rounding error.
    tolerance = case.n * rounding(case)
    return Evidence(float(case.spectrum.sum()), float(live[0] - live[1]), "=", tolerance)


def _orthogonal(case: Case, sampling: Sampling) -> Evidence:
    probes = sample_probes(case.n, case.n, law="orthogonal", rng=sampling.rng)
    exact = fa_loss(case.student, case.teacher)
    return Evidence(
        ffa_loss(case.student, case.teacher, probes), exact, "=", case.n * rounding(case)
    )


def _invariant(case: Case, sampling: Sampling) -> Evidence:
    """Rescale the student's pixels and rotate its channels."""
    rng, channels = sampling.rng, len(case.student)
    rotation, _ = np.linalg.qr(rng.standard_normal((channels, channels)))
    factors = 10 ** rng.uniform(-2, 2, case.student.shape[1:])
    moved = fa_loss(np.tensordot(rotation, factors * case.student, axes=1), case.teacher)
    return Evidence(moved, fa_loss(case.student, case.teacher), "=", rounding(case))


def _fa_gradient(case: Case, _: Sampling) -> Evidence:
    x, gap = _unit_pixels_and_gap(case)
    expected = 4 / case.n**2 * (x @ gap)
    return _difference(case, fa_gradient(case.student, case.teacher), expected, x, 1.0)


def _ffa_gradient(case: Case, sampling: Sampling) -> Evidence:
    probes = sample_probes(case.n, sampling.k, rng=sampling.rng)
    x, gap = _unit_pixels_and_gap(case)
    images = gap @ probes
    slope = (x @ images) @ probes.T + (x @ probes) @ images.T
    expected = 2 / (sampling.k * case.n**2) * slope
    actual = ffa_gradient(case.student, case.teacher, probes)
    return _difference(case, actual, expected, x, float((probes**2).sum()))


def _unit_pixels_and_gap(case: Case) -> tuple[Array, Array]:
    """Return the student's unit pixels (C_s, N) and the gap as an N×N matrix."""
    size = (case.student.shape[1], case.student.shape[2])
    teacher = resize_bilinear(case.teacher[np.newaxis], size)[0]
    return unit_pixels(case.student[np.newaxis])[0][0], affinity(case.student) - affinity(teacher)


def _difference(
    case: Case, actual: Array, by_unit_pixels: Array, x: Array, factor: float
) -> Evidence:
    """Largest distance of ‖F_i‖·g_i from the gradient by X, projected off x_i, 0 where dead."""
    norms = np.linalg.norm(case.student, axis=0).ravel()
    tangent = (by_unit_pixels - x * (x * by_unit_pixels).sum(axis=0)) * (norms > 0)
    distance = np.abs(actual.reshape(x.shape) * norms - tangent).max()
    return Evidence(float(distance), 0.0, "=", 4 * (1 + factor) * rounding(case))


def _order_one_norms(case: Case, _: Sampling) -> Evidence:
    """Position of E L̂₁ between its two norms: 0 at the lower one, 1 at the upper."""
    upper = np.sqrt(2 / np.pi) * fa_loss(case.student, case.teacher, order=1)
    lower = upper / np.sqrt(case.n)
    mean = ffa_mean(case.student, case.teacher)
    allowance = 0.5 + rounding(case) / max(upper - lower, rounding(case))
    return Evidence(float((mean - lower) / (upper - lower or 1)), 0.5, "=", allowance)


IDENTITIES = tuple(
    Claim(claim_id, "identity", check)
    for claim_id, check in {
        "I1": _cosines,
        "I2": _invariant,
        "I3": _range,
        "I4": _gram,
        "I5": _spectrum,
        "I6": _trace,
        "I7": _orthogonal,
        "I8": _fa_gradient,
        "I9": _ffa_gradient,
        "I10": _order_one_norms,
    }.items()
)
