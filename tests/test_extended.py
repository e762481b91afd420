"""Double-double arithmetic and the bounds on rounding: against mpmath in 60 digits."""

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import faqd_math as fm
from faqd_math import losses
from faqd_math.testing import generators
from faqd_math.theory import extended, rounding

DIGITS = 60


def exact_sum(number):
    """Return high + low of one number in mpmath."""
    return mpmath.mpf(float(number.high)) + mpmath.mpf(float(number.low))


def random_number(rng):
    high = rng.standard_normal(()) * 10.0 ** rng.integers(-8, 9)
    return extended.exactly(high) + extended.exactly(high * 2.0**-54 * rng.uniform(-1, 1))


def assert_close(actual, expected, roundings=1):
    """Within some roundings of 2⁻¹⁰³; ``expected`` is not 0."""
    error = abs(exact_sum(actual) / expected - 1)
    assert error <= roundings * extended.ROUNDOFF


@given(generators())
def test_operations_are_right_to_31_digits(rng):
    a, b = random_number(rng), random_number(rng)
    with mpmath.workdps(DIGITS):
        p, q = exact_sum(a), exact_sum(b)
        assert_close(a * b, p * q)
        assert_close((a * a).sqrt(), abs(p), roundings=2)
        assert_close(a / b, p / q, roundings=2)
        # Of sums and differences it is the error relative to the result, cancelled or not.
        assert_close(a + b, p + q)
        assert_close(a - b, p - q)


@given(generators(), st.integers(1, 4), st.sampled_from([1, 9, 400]), st.integers(1, 12))
def test_matrix_product_is_right_to_31_digits(rng, m, p, n):
    """In one piece, or in several where p·n is large."""
    a, b = rng.standard_normal((m, p)), rng.standard_normal((p, n))
    product = extended.exactly(a) @ extended.exactly(b)
    with mpmath.workdps(DIGITS):
        for i in range(m):
            for j in range(n):
                terms = [mpmath.mpf(x) * mpmath.mpf(y) for x, y in zip(a[i], b[:, j], strict=True)]
                error = abs(exact_sum(product[i, j]) - mpmath.fsum(terms))
                assert error <= 5 * extended.ROUNDOFF * mpmath.fsum(abs(t) for t in terms)


def test_roots_of_zero_are_zero():
    root = extended.exactly(np.array([0.0, 4.0])).sqrt()
    np.testing.assert_array_equal(root.high, [0.0, 2.0])


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
def test_losses_keep_16_digits_at_a_gap_of_1e_8(gap, scale):
    student, teacher = pair(gap, scale)
    probes = fm.sample_probes(8, 3, rng=np.random.default_rng(8))
    fa, ffa = (
        extended.fa_loss(student, teacher),
        extended.ffa_loss(student, teacher, probes),
    )
    with mpmath.workdps(DIGITS):
        gap_matrix = gap_in_60_digits(student, teacher)
        images = gap_matrix * mpmath.matrix(probes.tolist())
        expected_fa = mpmath.fsum(entry**2 for entry in gap_matrix) / 64
        expected_ffa = mpmath.fsum(entry**2 for entry in images) / (3 * 64)
        # Some 30 roundings of terms of size up to N² = 64 beside μ.
        assert_close(fa, expected_fa, roundings=int(30 * 64 / (64 * expected_fa)) + 30)
        assert_close(ffa, expected_ffa, roundings=int(30 * 64 / mpmath.sqrt(expected_ffa)))
        if gap == 1e-8:
            assert abs(exact_sum(fa) / expected_fa - 1) < 1e-15


def test_relative_error_sees_less_than_one_rounding():
    third = extended.exactly(np.array(1.0)) / extended.exactly(np.array(3.0))
    # The float64 nearest to 1/3 is off by 2⁻⁵⁴/3.
    assert extended.relative_error(1 / 3, third) == pytest.approx(2.0**-54)


def test_bounds_are_infinite_where_the_model_gives_none():
    assert rounding.direct_error(64, (8, 8), 1.0, unit_roundoff=2.0**-8) == np.inf
    assert rounding.direct_error(64, (8, 8), 1.0, unit_roundoff=2.0**-24) < 1


def test_bound_of_the_public_function_is_that_of_the_path_taken():
    n, channels, size = 64, (8, 8), 1000.0
    threshold = losses.CANCELLATION * size
    spectrum, gram = (
        rounding.public_error(n, channels, factor * threshold, size) for factor in (0.9, 1.1)
    )
    assert spectrum == rounding.spectrum_error(n, channels, 0.9 * threshold)
    assert gram == rounding.gram_error(n, channels, 1.1 * threshold, size)
    assert rounding.public_error(9, channels, 1.0, 20.0) == rounding.direct_error(9, channels, 1.0)


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
        errors.append(extended.relative_error(value, extended.exactly(np.array(1.0))))
    assert 1e-2 <= max(errors) / bound(9, (3, 3), 81.0) <= 1


def test_rounding_of_the_input_moves_the_value_by_the_bound_at_most_and_a_tenth_at_least():
    """Two pixels of cosine s whose features are off by factors 1 ± v, those that turn it most."""
    v = 2.0**-12
    student = np.array([[1.0, 1.0], [1.0, -1.0]]).reshape(2, 1, 2)
    signs = np.array([[1.0, 1.0], [-1.0, -1.0]]).reshape(2, 1, 2)
    teacher = np.array([[1.0, 1.0], [0.0, 1.0]]).reshape(2, 1, 2)
    exact = extended.fa_loss(student, teacher)
    moved = extended.fa_loss(student * (1 + v * signs), teacher)
    error = extended.relative_error(float(moved.high), exact)
    bound = rounding.direct_error(2, (2, 2), float(exact.high) * 4, input_roundoff=v)
    assert bound / 10 <= error <= bound
