"""Planning: known numbers of probes, and what holds for every gap."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import faqd_math as fm
from faqd_math.theory import bounds, law, moments
from faqd_math.theory.planning import MapSizes, plan, plan_features, typical_error, worst

spectra = st.lists(st.floats(0.01, 100) | st.floats(-100, -0.01), min_size=1, max_size=6).map(
    np.array
)
epsilons = st.floats(0.05, 3)
deltas = st.floats(1e-6, 0.6)


@settings(max_examples=25)
@given(spectrum=spectra, epsilon=epsilons, delta=deltas)
def test_no_bound_asks_for_fewer_probes_than_the_exact_law(spectrum, epsilon, delta):
    made = plan(spectrum, epsilon=epsilon, delta=delta)
    for name in bounds.gaussian_bounds():
        asked = made.bound_probes[name]
        assert (asked is None) == (name in ("B7", "B8") and epsilon > 1)
        assert asked is None or made.exact_probes <= asked, name
    assert (made.bound_probes["B10"] is None) == (epsilon > 0.75)


@settings(max_examples=25)
@given(spectrum=spectra, epsilon=epsilons, delta=deltas, factor=st.floats(1.05, 3))
def test_a_laxer_request_needs_no_more_probes(spectrum, epsilon, delta, factor):
    strict = plan(spectrum, epsilon=epsilon, delta=delta)
    for laxer in (
        plan(spectrum, epsilon=factor * epsilon, delta=delta),
        plan(spectrum, epsilon=epsilon, delta=1 - (1 - delta) / factor),
    ):
        assert laxer.exact_probes <= strict.exact_probes
        for name, asked in laxer.bound_probes.items():
            assert asked is None or asked <= strict.bound_probes[name], name


@settings(max_examples=25)
@given(spectrum=spectra, epsilon=st.floats(0.05, 0.75), delta=deltas)
def test_any_gap_asks_for_as_many_probes_as_every_gap(spectrum, epsilon, delta):
    whatever = plan(epsilon=epsilon, delta=delta)
    for name, asked in plan(spectrum, epsilon=epsilon, delta=delta).bound_probes.items():
        # r∞ and ρ of a spectrum of one size are 1 up to rounding, which may cost one probe.
        assert asked <= whatever.bound_probes[name] + 1, name
    gaussian = [whatever.bound_probes[name] for name in bounds.gaussian_bounds()]
    assert whatever.sufficient_probes == min(gaussian)


@settings(max_examples=25)
@given(spectrum=spectra, k=st.integers(1, 200), delta=st.floats(1e-9, 0.99))
def test_the_typical_error_is_exceeded_with_probability_delta(spectrum, k, delta):
    error = typical_error(spectrum, k, delta)
    # brentq leaves 2e-12 + 9e-16·40 in ln ε, which moves a tail of 1e-9 by at most about its
    # exponent, 100, times that.
    np.testing.assert_allclose(law.failure_probability(spectrum, k, error), delta, rtol=1e-8)
    if k < 200:
        assert typical_error(spectrum, k, delta, probability=bounds.chernoff) >= error


def test_a_plan_of_maps_is_the_plan_of_their_spectrum_with_p8():
    student, teacher = np.random.default_rng(0).standard_normal((2, 4, 5, 6))
    made = plan_features(student, teacher[:3], k=7)
    spectrum = fm.gap_spectrum(student, teacher[:3])
    squared = moments.gradient_noise(student, teacher[:3], 7)
    reference = moments.gradient_squared_norm(student, teacher[:3])
    assert made.shape == MapSizes(30, 4, 3)
    assert made.gradient_noise == pytest.approx((squared / reference) ** 0.5, rel=1e-14)
    assert replace(made, gradient_noise=None, shape=None) == plan(spectrum, k=7)


def test_a_student_whose_gradient_vanishes_has_no_relative_gradient_noise():
    assert plan_features(np.zeros((2, 2, 2)), np.ones((2, 2, 2))).gradient_noise is None


def test_the_worst_plan_is_the_worst_in_every_figure():
    rng = np.random.default_rng(0)
    plans = [plan_features(*rng.standard_normal((2, c, 4, 4)), epsilon=0.9) for c in (2, 2, 2)]
    joined = worst(plans)
    for name, most in (
        *((name, min) for name in ("effective_rank", "stable_rank")),
        *((name, max) for name in ("exact_probes", "sufficient_probes", "error")),
        *((name, max) for name in ("failure_probability", "gradient_noise")),
    ):
        assert getattr(joined, name) == most(getattr(p, name) for p in plans), name
    assert joined.bound_probes["B4"] == max(p.bound_probes["B4"] for p in plans)
    assert joined.bound_probes["B10"] is None
    assert joined.samples == 3
