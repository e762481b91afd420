"""The exact law against closed forms and the gx2 package; draws are the claim LAW.

A check takes the tail function, (spectrum, k, value, tail) -> probability, or the whole
failure probability, so that planted errors can be handed to it.
"""

import functools

import gx2
import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import MIXED, ZERO_GAPS
from scipy import stats

from faqd_math.theory import law
from faqd_math.theory import weighted_chi_squared as contour

# The docstring's claim, for probabilities of 1e-260 and up.
RTOL = 1e-11


def check_against_chi_squared(tail_probability):
    """Equal eigenvalues: kT/λ² is χ² with kr degrees of freedom; far into both tails."""
    for r, k in [(1, 1), (1, 2), (1, 15), (2, 3), (7, 5), (64, 15), (200, 3), (10, 1000)]:
        chi2 = stats.chi2(k * r)
        for level in (1e-260, 1e-30, 1e-6, 0.1, 0.5, 0.9):
            upper, lower = chi2.isf(level), chi2.ppf(level)
            for x, tail, exact in (
                (upper, "upper", chi2.sf(upper)),
                (lower, "lower", chi2.cdf(lower)),
            ):
                p = tail_probability(np.full(r, -2.0), k, 4 * x / k, tail=tail)
                np.testing.assert_allclose(p, exact, rtol=RTOL, err_msg=f"{r=} {k=} {x=} {tail}")


def hypoexponential(squares, x, tail):
    """P of Σ w_j χ²_2 with distinct w_j by partial fractions, at 400 digits: they cancel."""
    with mpmath.workdps(400):
        w = [mpmath.mpf(float(square)) for square in squares]
        total = mpmath.mpf(0)
        for j, wj in enumerate(w):
            factor = mpmath.fprod(wj / (wj - wi) for i, wi in enumerate(w) if i != j)
            survival = mpmath.exp(-mpmath.mpf(x) / (2 * wj))
            total += factor * (survival if tail == "upper" else 1 - survival)
        return float(total)


def test_equal_eigenvalues_give_chi_squared():
    check_against_chi_squared(law.tail_probability)


def test_a_wrong_law_is_caught_by_the_chi_squared_check():
    def wrong_degrees(spectrum, k, value, *, tail):
        return law.tail_probability(spectrum, k + 1, value, tail=tail)

    def unsquared(spectrum, k, value, *, tail):
        return law.tail_probability(np.sqrt(np.abs(spectrum)), k, value, tail=tail)

    def absolute_error(spectrum, k, value, *, tail):
        return law.tail_probability(spectrum, k, value, tail=tail) + 1e-16

    for wrong in (wrong_degrees, unsquared, absolute_error):
        with pytest.raises(AssertionError, match="Not equal to tolerance"):
            check_against_chi_squared(wrong)


@pytest.mark.parametrize("decades", [0.1, 1, 3, 6])
def test_many_scales_give_the_hypoexponential_law(decades):
    rng = np.random.default_rng(int(10 * decades))
    spectrum = 10.0 ** -np.sort(rng.uniform(0, decades, 20))
    mean = (spectrum**2).sum()
    for factor in (1e-4, 0.1, 0.5, 0.99, 1.01, 2, 10, 50):
        tail = "upper" if factor > 1 else "lower"
        exact = hypoexponential(spectrum**2, 2 * factor * mean, tail)
        p = law.tail_probability(spectrum, 2, factor * mean, tail=tail)
        np.testing.assert_allclose(p, exact, rtol=RTOL, err_msg=f"{factor=}")


def test_one_large_eigenvalue_above_many_small_ones():
    for scale in (1e-3, 0.1, 0.5):
        squares = np.append(1.0, scale * np.linspace(1, 1.5, 60))
        mean, deviation = 2 * squares.sum(), 2 * np.sqrt((squares**2).sum())
        for z in (-1.0, -0.01, 0.01, 0.2, 1.0, 10.0):
            tail = "upper" if z > 0 else "lower"
            x = max(mean + z * deviation, 0.1 * mean)
            p = law.tail_probability(np.sqrt(squares), 2, x / 2, tail=tail)
            np.testing.assert_allclose(p, hypoexponential(squares, x, tail), rtol=RTOL)


@pytest.mark.parametrize("k", [1, 4, 15])
def test_the_gx2_package_agrees(k):
    # By Ruben's series, which converges for eigenvalues of one order of magnitude.
    spectrum = np.array([3.0, -2.0, 1.5, 1.0])
    degrees, zeros = np.full(4, k), np.zeros(4)
    for factor in (0.2, 0.8, 1.2, 3.0):
        value = factor * (spectrum**2).sum()
        second = gx2.cdf(k * value, spectrum**2, degrees, zeros, 0, 0, method="ruben")
        p = law.tail_probability(spectrum, k, value, tail="lower")
        np.testing.assert_allclose(p, np.squeeze(second), rtol=1e-10)


@pytest.mark.parametrize("k", [10**6, 10**8, 10**10])
def test_accuracy_degrades_with_the_degrees_of_freedom_as_stated(k):
    chi2 = stats.chi2(k)
    errors = []
    # Near the mean, where SciPy's expansion is good to 5e-12; beyond 4.5 deviations below the
    # mean its series is cut off, and the error seen there is SciPy's.
    for x in k + np.sqrt(2 * k) * np.array([-3, -1, -0.2, 0.2, 1, 3]):
        tail, exact = ("upper", chi2.sf(x)) if x > k else ("lower", chi2.cdf(x))
        errors.append(abs(law.tail_probability(np.ones(1), k, x / k, tail=tail) / exact - 1))
    # Against SciPy at these k; a hundredth is reached: the statement says something.
    assert 2e-19 * k < max(errors) <= 2e-17 * k


def test_accuracy_degrades_with_the_number_of_eigenvalues_as_stated():
    """Eigenvalues share logarithms: the rounding of their products stays within the statement."""
    for r, k in [(7, 10**6), (60, 10**6), (1000, 1000)]:
        chi2 = stats.chi2(k * r)
        for x in k * r + np.sqrt(2 * k * r) * np.array([-3, -1, 1, 3]):
            tail, exact = ("upper", chi2.sf(x)) if x > k * r else ("lower", chi2.cdf(x))
            p = law.tail_probability(np.ones(r), k, x / k, tail=tail)
            np.testing.assert_allclose(p, exact, rtol=RTOL + 2e-17 * k * r)


def test_principal_logarithms_of_products_are_caught(monkeypatch):
    """The argument of a product of factors turns by more than π along the path."""

    def principal(factors):
        return np.log(factors.prod(axis=1)).sum(axis=0)

    monkeypatch.setattr(contour, "_sum_of_logarithms", principal)
    with pytest.raises((AssertionError, ArithmeticError), match=r"Not equal|does not converge"):
        check_against_chi_squared(law.tail_probability)


@pytest.mark.parametrize("block", [1, 2**12, 2**16])
def test_many_values_at_once_equal_one_after_the_other(block, monkeypatch):
    """In any blocks; one step serves a block, so that they are equal to rounding."""
    monkeypatch.setattr(contour, "_BLOCK", block)
    errors = np.geomspace(0.01, 20, 30)
    for tail in ("both", "upper", "lower"):
        at_once = law.failure_probability(MIXED, 3, errors, tail=tail)
        singly = [law.failure_probability(MIXED, 3, float(e), tail=tail) for e in errors]
        np.testing.assert_allclose(at_once, singly, rtol=RTOL)
    values = np.array([-1.0, 0.0, 1e-300, 0.1, 14.0, 15.0, 1e5, 1e300])
    for tail in ("upper", "lower"):
        at_once = law.tail_probability(MIXED, 3, values, tail=tail)
        singly = [law.tail_probability(MIXED, 3, float(value), tail=tail) for value in values]
        np.testing.assert_allclose(at_once, singly, rtol=RTOL)
    assert law.failure_probability(MIXED, 3, np.empty(0)).shape == (0,)
    assert law.tail_probability(MIXED, 3, np.empty(0)).shape == (0,)
    zero_gap = law.failure_probability(np.zeros(2), 3, errors)
    np.testing.assert_array_equal(zero_gap, np.zeros(30))
    np.testing.assert_array_equal(law.tail_probability(np.zeros(2), 3, values), values <= 0)


def test_an_integral_that_does_not_converge_is_refused(monkeypatch):
    monkeypatch.setattr(contour, "_LAST_STEP", contour._FIRST_STEP)
    with pytest.raises(ArithmeticError, match="does not converge for k = 3 and 5 eigenvalues"):
        law.failure_probability(MIXED, 3, 0.5)


@pytest.mark.parametrize("spectrum", [np.ones(1), np.ones(4), MIXED], ids=["one", "four", "mixed"])
@pytest.mark.parametrize("epsilon", [0.2, 0.7, 1.0, 2.0])
def test_failure_probability_falls_with_k_so_that_bisection_finds_the_smallest(spectrum, epsilon):
    probabilities = [law.failure_probability(spectrum, k, epsilon) for k in range(1, 60)]
    assert (np.diff(probabilities) < 0).all()
    delta = 1.0001 * probabilities[22]
    assert law.probes_needed(spectrum, epsilon, delta) == 23


@given(
    spectrum=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8).map(np.array),
    k=st.integers(1, 40),
    epsilon=st.floats(0.01, 3),
    scale=st.sampled_from([-1e150, -1e-150, 0.1, 7.0]),
)
def test_scale_sign_order_and_zeros_do_not_matter(spectrum, k, epsilon, scale):
    probability = functools.partial(law.failure_probability, k=k, epsilon=epsilon)
    changed = np.append(scale * spectrum[::-1], np.zeros(3))
    np.testing.assert_allclose(probability(changed), probability(spectrum), rtol=RTOL)


@given(
    spectrum=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8).map(np.array),
    k=st.integers(1, 40),
    factor=st.floats(0.01, 5),
)
def test_the_two_tails_add_to_one(spectrum, k, factor):
    value = factor * (spectrum**2).sum()
    upper = law.tail_probability(spectrum, k, value, tail="upper")
    lower = law.tail_probability(spectrum, k, value, tail="lower")
    assert 0 <= upper <= 1
    np.testing.assert_allclose(upper + lower, 1, rtol=1e-13)


def test_both_sides_of_the_mean_join():
    """The tail is computed by two integrals, one on each side of the mean: no step between."""
    mean = (MIXED**2).sum()
    below, above = (law.tail_probability(MIXED, 3, mean * (1 + s * 1e-9)) for s in (-1, 1))
    # The density is near 1/mean, so that the probability moves by about 2e-9.
    assert 0 < below - above < 1e-8


def test_failure_is_the_sum_of_its_sides():
    both, upper, lower = (
        law.failure_probability(MIXED, 5, 0.4, tail=tail) for tail in ("both", "upper", "lower")
    )
    assert both == upper + lower
    assert law.failure_probability(MIXED, 5, 1.0, tail="lower") == 0
    assert law.failure_probability(MIXED, 5, 1.0) == law.failure_probability(
        MIXED, 5, 1.0, tail="upper"
    )


@pytest.mark.parametrize("spectrum", ZERO_GAPS.values(), ids=ZERO_GAPS)
def test_a_zero_gap_never_fails(spectrum):
    assert law.failure_probability(spectrum, 1, 0.01) == 0
    assert law.probes_needed(spectrum, 0.01, 1e-9) == 1
    assert law.tail_probability(spectrum, 1, 0.0, tail="upper") == 1
    assert law.tail_probability(spectrum, 1, 0.0, tail="lower") == 1
    assert law.tail_probability(spectrum, 1, 0.1, tail="upper") == 0
    assert law.tail_probability(spectrum, 1, -0.1, tail="lower") == 0


@pytest.mark.parametrize(
    ("scale", "value", "upper"),
    [
        (1, -1.0, 1),
        (1, 0.0, 1),
        (1, 1e-320, 1),
        (1, 1e300, 0),
        (1, 1e15, 0),
        (1e-200, 1e300, 0),
        (1e160, 1.0, 1),
    ],
)
def test_values_far_from_the_mean_have_no_probability(scale, value, upper):
    assert law.tail_probability(scale * MIXED, 2, value) == upper
    assert law.tail_probability(scale * MIXED, 2, value, tail="lower") == 1 - upper


def test_extreme_errors_give_finite_probabilities():
    spectrum = 1e-200 * MIXED
    assert law.failure_probability(spectrum, 1, 1e300) == 0
    assert law.failure_probability(spectrum, 10**6, 0.9) == 0
    np.testing.assert_allclose(law.failure_probability(spectrum, 1, 1e-300), 1, rtol=RTOL)
