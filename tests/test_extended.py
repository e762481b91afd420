"""Decimal arithmetic and the bounds on rounding: against mpmath in 60 digits."""

from decimal import Decimal

import mpmath
import numpy as np
import pytest

import faqd_math as fm
from faqd_math import losses
from faqd_math.theory import extended, rounding
from faqd_math.theory.rounding import Setting

DIGITS = 60


def assert_close(actual, expected, roundings):
    """Within some roundings of 1e-39; ``expected`` is not 0."""
    error = abs(mpmath.mpf(str(actual)) / expected - 1)
    assert error <= roundings * extended.ROUNDOFF


def gap_in_60_digits(student, teacher):
    """Return A as an mpmath matrix; call it within `mpmath.workdps`."""
    affinities = []
    for maps in (student, teacher):
        pixels = [[mpmath.mpf(float(v)) for v in p] for p in maps.reshape(len(maps), -1).T]
        norms = [mpmath.sqrt(mpmath.fdot(p, p)) or mpmath.mpf(1) for p in pixels]
        units = [[v / norm for v in p] for p, norm in zip(pixels, norms, strict=True)]
        affinities.append(mpmath.matrix([[mpmath.fdot(p, q) for q in units] for p in units]))
    return affinities[0] - affinities[1]


def pair(gap, scale=1.0):
    rng = np.random.default_rng(7)
    student = rng.standard_normal((3, 2, 4))
    student[:, 0, 0] = 0.0  # a dead pixel
    teacher = student + gap * rng.standard_normal(student.shape)
    return scale * student, teacher


@pytest.mark.parametrize("scale", [1.0, 1e-150, 1e150])
@pytest.mark.parametrize("gap", [1.0, 1e-4, 1e-8])
def test_losses_keep_20_digits_at_a_gap_of_1e_8(gap, scale):
    student, teacher = pair(gap, scale)
    probes = fm.sample_probes(8, 3, rng=np.random.default_rng(8))
    fa, ffa = extended.fa_loss(student, teacher), extended.ffa_loss(student, teacher, probes)
    with mpmath.workdps(DIGITS):
        gap_matrix = gap_in_60_digits(student, teacher)
        images = gap_matrix * mpmath.matrix(probes.tolist())
        expected_fa = mpmath.fsum(entry**2 for entry in gap_matrix) / 64
        expected_ffa = mpmath.fsum(entry**2 for entry in images) / (3 * 64)
        # Some 30 roundings of terms of size up to N² = 64 beside μ.
        assert_close(fa, expected_fa, roundings=int(30 * 64 / (64 * expected_fa)) + 30)
        assert_close(ffa, expected_ffa, roundings=int(30 * 64 / mpmath.sqrt(expected_ffa)))
        if gap == 1e-8:
            assert abs(mpmath.mpf(str(fa)) / expected_fa - 1) < 1e-20


def test_relative_error_sees_less_than_one_rounding():
    # The float64 nearest to 1/3 is off by 2⁻⁵⁴/3.
    third = Decimal("0." + 39 * "3")
    assert extended.relative_error(1 / 3, third) == pytest.approx(2.0**-54)


def test_bounds_are_infinite_where_the_model_gives_none():
    assert rounding.direct_error(Setting(64, (8, 8), 2.0**-8), 1.0) == np.inf
    assert rounding.direct_error(Setting(64, (8, 8), 2.0**-24), 1.0) < 1


def test_bound_of_the_public_function_is_that_of_the_path_taken():
    at, size = Setting(64, (8, 8)), 1000.0
    threshold = losses.CANCELLATION * size
    spectrum, gram = (rounding.public_error(at, factor * threshold, size) for factor in (0.9, 1.1))
    assert spectrum == rounding.spectrum_error(at, 0.9 * threshold)
    assert gram == rounding.gram_error(at, 1.1 * threshold, size)
    few = Setting(9, (8, 8))
    assert rounding.public_error(few, 1.0, 20.0) == rounding.direct_error(few, 1.0)


def test_gram_loses_what_the_public_path_keeps():
    """At a gap of 1e-9 the Gram identity has no correct digit left, auto has six."""
    rng = np.random.default_rng(0)
    student = rng.standard_normal((3, 4, 4))
    teacher = student + 1e-9 * rng.standard_normal(student.shape)
    exact = extended.fa_loss(student, teacher)
    by_gram = fm.fa_loss(student, teacher, method="gram")
    assert extended.relative_error(by_gram, exact) > 0.5
    assert extended.relative_error(fm.fa_loss(student, teacher), exact) < 1e-6


@pytest.mark.parametrize("path", ["direct", "spectrum"])
def test_bounds_are_within_a_factor_100_of_errors_that_conspire(path):
    """All pixels are parallel and round alike, against a teacher of dead ones: μ = N²."""
    rng = np.random.default_rng(9)
    bound = {"direct": rounding.direct_error, "spectrum": rounding.spectrum_error}[path]
    errors = []
    for pixel in rng.standard_normal((50, 3, 1, 1)):
        student = np.broadcast_to(pixel, (3, 3, 3))
        value = fm.fa_loss(student, np.zeros_like(student), method=path)
        errors.append(extended.relative_error(value, Decimal(1)))
    assert 1e-2 <= max(errors) / bound(Setting(9, (3, 3)), 81.0) <= 1


def test_rounding_of_the_input_moves_the_value_by_the_bound_at_most_and_a_tenth_at_least():
    """Two pixels of cosine s whose features are off by factors 1 ± v, those that turn it most."""
    v = 2.0**-12
    student = np.array([[1.0, 1.0], [1.0, -1.0]]).reshape(2, 1, 2)
    signs = np.array([[1.0, 1.0], [-1.0, -1.0]]).reshape(2, 1, 2)
    teacher = np.array([[1.0, 1.0], [0.0, 1.0]]).reshape(2, 1, 2)
    exact = extended.fa_loss(student, teacher)
    moved = extended.fa_loss(student * (1 + v * signs), teacher)
    error = extended.relative_error(float(moved), exact)
    bound = rounding.direct_error(Setting(2, (2, 2), input_roundoff=v), float(exact) * 4)
    assert bound / 10 <= error <= bound
