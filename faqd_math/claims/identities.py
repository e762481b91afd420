"""Claims that hold for every input, checked up to rounding (§2)."""

from __future__ import annotations

import numpy as np

from faqd_math.claims.evidence import Case, Claim, Evidence, Sampling
from faqd_math.features import affinity
from faqd_math.gradients import fa_gradient, ffa_gradient
from faqd_math.losses import fa_loss, ffa_loss
from faqd_math.probes import sample_probes

_DERIVED = "definition"


def rounding(case: Case) -> float:
    """Absolute error of a loss that float64 explains: a few roundings a summed term."""
    terms = case.n + len(case.student) + len(case.teacher) + 8
    return 8 * terms * float(np.finfo(np.float64).eps)


def _cosines(case: Case, _: Sampling) -> Evidence:
    largest = max(np.abs(affinity(m)).max() for m in (case.student, case.teacher))
    return Evidence(float(largest), 1.0, "<=", rounding(case))


def _range(case: Case, _: Sampling) -> Evidence:
    return Evidence(fa_loss(case.student, case.teacher), 4.0, "<=", rounding(case))


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


def _radial_part(case: Case, gradient: np.ndarray) -> Evidence:
    radial = np.abs((gradient * case.student).sum(axis=0)).max()
    size = np.linalg.norm(gradient, axis=0) * np.linalg.norm(case.student, axis=0)
    return Evidence(float(radial), 0.0, "=", (1 + float(size.max())) * rounding(case))


def _fa_tangent(case: Case, _: Sampling) -> Evidence:
    return _radial_part(case, fa_gradient(case.student, case.teacher))


def _ffa_tangent(case: Case, sampling: Sampling) -> Evidence:
    probes = sample_probes(case.n, sampling.k, rng=sampling.rng)
    return _radial_part(case, ffa_gradient(case.student, case.teacher, probes))


IDENTITIES = (
    Claim("I1", "Affinities are cosines: |S_ij| ≤ 1.", _DERIVED, "identity", _cosines),
    Claim("I3", "FA of order 2 lies between 0 and 4.", _DERIVED, "identity", _range),
    Claim("I4", "The Gram identity gives FA exactly.", _DERIVED, "identity", _gram),
    Claim("I5", "FA is Σλ²/N² over the gap's spectrum.", _DERIVED, "identity", _spectrum),
    Claim("I6", "The gap's trace counts live pixels.", _DERIVED, "identity", _trace),
    Claim("I7", "N orthogonal probes make FFA exact.", _DERIVED, "identity", _orthogonal),
    Claim("I8", "FA's gradient is orthogonal to each pixel.", _DERIVED, "identity", _fa_tangent),
    Claim("I9", "FFA's gradient is orthogonal to each pixel.", _DERIVED, "identity", _ffa_tangent),
)
