"""The identities of FA and FFA as assertions about any implementation (§2).

Each property takes the implementation first and data, from `faqd_math.testing.strategies` or
elsewhere, after it, and raises AssertionError with the numbers when the identity fails. A loss is
a function (student, teacher) -> float of single maps (C, H, W); a fast loss takes probes (N, k)
as its third argument.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from faqd_math._validation import Array

Loss = Callable[[Array, Array], Any]
FastLoss = Callable[[Array, Array, Array], Any]


def loss_tolerance(student: Array, teacher: Array) -> float:
    """Absolute error that rounding in the maps' dtype explains in a loss, by any exact path.

    A cosine is off by at most (2C + 8)u and an entry of the gap by twice that; a squared norm of
    S over N² is at most 1 and summed from at most N + C rounded terms; the identities add up to
    four such values. u is the unit roundoff of the coarser dtype, which an implementation is
    taken to compute in.
    """
    n = student.shape[-2] * student.shape[-1]
    unit_roundoff = float(max(np.finfo(maps.dtype).eps for maps in (student, teacher))) / 2
    return 16 * (n + student.shape[-3] + teacher.shape[-3] + 8) * unit_roundoff


def fast_loss_tolerance(student: Array, teacher: Array, probes: Array) -> float:
    """As `loss_tolerance`, of FFA: (AZ)_ij carries the error of N entries of A times Z's."""
    size = max(1.0, float((probes**2).mean()))
    return loss_tolerance(student, teacher) * probes.shape[-2] * size


def assert_close(actual: Any, expected: Any, tolerance: float, what: str) -> None:
    """Assert |actual − expected| ≤ tolerance in every entry; NaN fails."""
    actual, expected = np.broadcast_arrays(actual, expected)
    errors = np.abs(np.asarray(actual) - np.asarray(expected))
    if (errors <= tolerance).all():
        return
    worst = np.unravel_index(np.argmax(errors), errors.shape)  # NaN counts as largest
    place = f" at {tuple(map(int, worst))}" if worst else ""
    raise AssertionError(
        f"{what}{place}: {actual[worst]:.17g} against {expected[worst]:.17g}, off by "
        f"{errors[worst]:.3g} where rounding explains {tolerance:.3g}."
    )


def assert_at_most(actual: float, bound: float, tolerance: float, what: str) -> None:
    """Assert actual ≤ bound + tolerance; NaN fails."""
    if not actual <= bound + tolerance:
        raise AssertionError(f"{what}: {actual} exceeds {bound} by more than {tolerance:.3g}.")


def affinity_is_a_cosine_matrix(affinity: Callable[[Array], Array], features: Array) -> None:
    """I1: S is symmetric positive semidefinite, |S_ij| ≤ 1, S_ii = 1 unless the pixel is dead."""
    s = affinity(features)
    tolerance = loss_tolerance(features, features)
    alive = np.any(features.reshape(len(features), -1) != 0, axis=0)
    assert_close(s, s.T, tolerance, "I1: S against its transpose")
    assert_close(np.diag(s), alive.astype(float), tolerance, "I1: diagonal of S")
    assert_at_most(np.abs(s).max(), 1.0, tolerance, "I1: largest |S_ij|")
    # An eigenvalue moves by at most the norm of the error, N times an entry's.
    assert_at_most(-np.linalg.eigvalsh(s).min(), 0.0, len(s) * tolerance, "I1: −min eigenvalue")


def loss_is_invariant(loss: Loss, student: Array, teacher: Array, rng: np.random.Generator) -> None:
    """I2: positive factors per pixel, channel rotations, one pixel permutation, a swap.

    ``student`` and ``teacher`` have one size.
    """
    expected = loss(student, teacher)
    tolerance = loss_tolerance(student, teacher)
    size = student.shape[1:]

    def same(what: str, new_student: Array, new_teacher: Array) -> None:
        assert_close(loss(new_student, new_teacher), expected, tolerance, f"I2, {what}")

    def rotated(features: Array) -> Array:
        q, _ = np.linalg.qr(rng.standard_normal((len(features), len(features))))
        return np.tensordot(q, features, axes=1)

    def permuted(features: Array) -> Array:
        return features.reshape(len(features), -1)[:, order].reshape(features.shape)

    factors = 10 ** rng.uniform(-2, 2, size)
    order = rng.permutation(size[0] * size[1])
    same("pixel factors of the student", factors * student, teacher)
    same("pixel factors of the teacher", student, factors * teacher)
    same("channel rotation of the student", rotated(student), teacher)
    same("channel rotation of the teacher", student, rotated(teacher))
    same("pixel permutation of both", permuted(student), permuted(teacher))
    same("swap", teacher, student)


def loss_is_bounded(loss: Loss, student: Array, teacher: Array, *, order: int = 2) -> None:
    """I3: 0 ≤ L ≤ 2^(order/2), and ≤ 1 where both maps are non-negative."""
    tolerance = loss_tolerance(student, teacher)
    value = loss(student, teacher)
    assert_at_most(-value, 0.0, 0.0, "I3: −L")
    assert_at_most(value, 2.0 ** (order / 2), tolerance, "I3: L")
    rectified = loss(np.abs(student), np.abs(teacher))
    assert_at_most(rectified, 1.0, tolerance, "I3: L of non-negative maps")


def loss_is_a_pseudometric(loss: Loss, a: Array, b: Array, c: Array, *, order: int = 2) -> None:
    """I3: L^(1/order) obeys the triangle inequality, and vanishes where the affinities agree."""

    def distance(student: Array, teacher: Array) -> float:
        return float(loss(student, teacher) ** (1 / order))

    # An absolute error t in L is at most t^(1/order) in its root.
    tolerance = 3 * max(loss_tolerance(p, q) for p in (a, b, c) for q in (a, b, c)) ** (1 / order)
    assert_at_most(distance(a, c), distance(a, b) + distance(b, c), tolerance, "I3: triangle")
    assert_close(distance(a, -2 * a), 0.0, tolerance, "I3: distance of equal affinities")


def loss_sees_every_entry(
    loss: Loss,
    affinity: Callable[[Array], Array],
    student: Array,
    teacher: Array,
    *,
    order: int = 2,
) -> None:
    """I3: L = 0 only if the affinities agree: L ≥ max|A_ij|^order/N². Maps have one size."""
    gap = affinity(student) - affinity(teacher)
    least = float(np.abs(gap).max()) ** order / gap.size
    assert_at_most(least, loss(student, teacher), loss_tolerance(student, teacher), "I3: least L")


def loss_is_spectrum_norm(
    loss: Loss, gap_spectrum: Callable[[Array, Array], Array], student: Array, teacher: Array
) -> None:
    """I5: L = Σλ²/N² (order 2)."""
    n = student.shape[1] * student.shape[2]
    expected = (gap_spectrum(student, teacher) ** 2).sum() / n**2
    tolerance = loss_tolerance(student, teacher)
    assert_close(loss(student, teacher), expected, tolerance, "I5: L against Σλ²/N²")


def spectrum_has_rank_and_trace(
    gap_spectrum: Callable[[Array, Array], Array], student: Array, teacher: Array
) -> None:
    """I6: at most C_s + C_t eigenvalues; they sum to live student − live teacher pixels.

    Maps have one size.
    """
    spectrum = gap_spectrum(student, teacher)
    assert_at_most(len(spectrum), len(student) + len(teacher), 0.0, "I6: rank")
    live_student, live_teacher = (int(np.any(m != 0, axis=0).sum()) for m in (student, teacher))
    # Each of the eigenvalues, up to N in size, is off by a relative rounding error.
    tolerance = student[0].size * loss_tolerance(student, teacher)
    assert_close(spectrum.sum(), live_student - live_teacher, tolerance, "I6: trace")


def fast_loss_averages_its_probes(
    fast_loss: FastLoss, student: Array, teacher: Array, probes: Array, *, order: int = 2
) -> None:
    """I7: the value is the mean of one-probe values, and homogeneous in Z."""
    value = fast_loss(student, teacher, probes)
    tolerance = fast_loss_tolerance(student, teacher, probes)
    columns = [fast_loss(student, teacher, probes[:, [j]]) for j in range(probes.shape[1])]
    assert_close(value, np.mean(columns), tolerance, "I7: mean of one-probe values")
    scaled = fast_loss(student, teacher, -3.0 * probes)
    assert_close(scaled, 3.0**order * value, 3.0**order * tolerance, "I7: probes scaled by −3")


def fast_loss_obeys_its_probes(
    fast_loss: FastLoss,
    loss: Loss,
    student: Array,
    teacher: Array,
    probes: Array,
    orthogonal: Array,
    *,
    order: int = 2,
) -> None:
    """I7: as `fast_loss_averages_its_probes`; N orthogonal probes give FA (order 2).

    ``orthogonal`` is √N times an orthogonal (N, N) matrix.
    """
    fast_loss_averages_its_probes(fast_loss, student, teacher, probes, order=order)
    if order == 2:
        exact = fast_loss(student, teacher, orthogonal)
        tolerance = loss_tolerance(student, teacher) * len(probes)
        assert_close(exact, loss(student, teacher), tolerance, "I7: N orthogonal probes")


def gradient_is_tangent(
    gradient: Callable[..., Array], student: Array, teacher: Array, *probes: Array
) -> None:
    """I8: the gradient at each pixel is orthogonal to it, finite, and 0 at dead pixels.

    Probes are passed along, if any are given.
    """
    g = gradient(student, teacher, *probes)
    if not np.isfinite(g).all():
        raise AssertionError("I8: the gradient holds NaN or infinite entries.")
    norms = np.linalg.norm(student, axis=0)
    dead = norms == 0
    assert_close(g[:, dead], 0.0, 0.0, "I8: gradient at dead pixels")
    # ‖F_i‖·g_i is the projected gradient; its inner product with x_i is rounding of that.
    cosines = (g * student).sum(axis=0)
    size = float((np.linalg.norm(g, axis=0) * norms).max(initial=0.0))
    assert_close(cosines, 0.0, (1 + size) * loss_tolerance(student, teacher), "I8: radial part")
