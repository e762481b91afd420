"""Estimates of FA beside FFA: against enumeration, replication, and FFA itself."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import faqd_math as fm
from analysis.studies.estimators import compare_estimators
from faqd_math.claims import cases_from_pairs
from faqd_math.features import unit_pixel_pair
from faqd_math.gradients import unit_fa_gradient
from faqd_math.testing import assert_mean, generators
from faqd_math.theory import estimators


def small_maps(*, dead=()):
    rng = np.random.default_rng(4)
    student, teacher = rng.standard_normal((2, 3, 2, 3))
    student.reshape(3, -1)[:, list(dead)] = 0
    return student, teacher


@pytest.mark.parametrize("m", [2, 3, 4, 6])
@pytest.mark.parametrize("dead", [(), (1,), (0, 4)])
def test_mean_and_variance_over_all_draws_are_as_stated(m, dead):
    """E1 and E2 by enumeration of every set of m of six pixels."""
    student, teacher = small_maps(dead=dead)
    values = [
        36 * estimators.sampled_fa_loss(student, teacher, list(pixels))
        for pixels in combinations(range(6), m)
    ]
    assert np.mean(values) == pytest.approx(36 * fm.fa_loss(student, teacher), rel=1e-12)
    expected = estimators.sampled_variance(student, teacher, m)
    assert np.var(values) == pytest.approx(expected, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("m", [2, 4])
def test_gradient_over_all_draws_is_the_gradient_of_fa(m):
    """Off the radial part, which the normalisation removes."""
    student, teacher = small_maps(dead=(1,))
    x, y, _ = unit_pixel_pair(student[np.newaxis], teacher[np.newaxis])
    draws = [np.array([pixels]) for pixels in combinations(range(6), m)]
    mean = np.mean([estimators.unit_sampled_gradient(x, y, d)[0] for d in draws], axis=0)
    difference = mean - unit_fa_gradient(x, y)[0]
    tangent = difference - x[0] * (x[0] * difference).sum(axis=0)
    live = (x[0] != 0).any(axis=0)
    assert np.abs(tangent[:, live]).max() < 1e-13


@given(st.integers(2, 40), st.data(), generators())
def test_draws_are_distinct_pixels(n, data, rng):
    m = data.draw(st.integers(2, n))
    pixels = estimators.sample_pixels(n, m, rng=rng, batch=3)
    assert pixels.shape == (3, m)
    assert all(len(set(row)) == m for row in pixels.tolist())
    assert pixels.min() >= 0
    assert pixels.max() < n


def test_every_pixel_is_drawn_equally_often():
    """20,000 draws of 3 of 7; each share within 5 σ, 6e-7 for each pixel."""
    pixels = estimators.sample_pixels(7, 3, rng=np.random.default_rng(0), batch=20_000)
    shares = np.bincount(pixels.ravel(), minlength=7) / 20_000
    assert np.abs(shares - 3 / 7).max() < 5 * np.sqrt(3 / 7 * 4 / 7 / 20_000)


def test_deflated_probes_are_isotropic_given_the_sketch_and_unbiased():
    student, teacher = np.random.default_rng(1).standard_normal((2, 4, 5, 5))
    copies = (np.broadcast_to(m, (4000, *m.shape)) for m in (student, teacher))
    probes = estimators.deflated_probes(*copies, 5, sketch=2, rng=np.random.default_rng(2))
    values = [fm.ffa_loss(student, teacher, z) for z in probes]
    assert_mean(np.array(values), fm.fa_loss(student, teacher))
    q = probes[0, :, :2] / np.sqrt(5)
    assert q.T @ q == pytest.approx(np.eye(2), abs=1e-12)
    assert q.T @ probes[0, :, 2:] == pytest.approx(0, abs=1e-12)


def test_deflation_leaves_no_error_where_it_spans_the_gap():
    """A gap of rank 4, sketched by 4."""
    student, teacher = np.random.default_rng(1).standard_normal((2, 2, 5, 5))
    probes = estimators.deflated_probes(student, teacher, 5, sketch=4, rng=np.random.default_rng(2))
    exact = fm.fa_loss(student, teacher)
    assert fm.ffa_loss(student, teacher, probes) == pytest.approx(exact, rel=1e-10)


def test_a_gap_at_two_pixels_is_where_probing_beats_sampling():
    """No bound holds for all maps: 10 of 100 pixels rarely meet the pair that differs."""
    student = np.random.default_rng(0).standard_normal((120, 10, 10))
    student = np.linalg.qr(student.reshape(120, 100))[0].reshape(120, 10, 10)  # all orthogonal
    teacher = student.copy()
    teacher[:, 0, 0] = student[:, 0, 1]
    mu = 100**2 * fm.fa_loss(student, teacher)
    sampled = estimators.sampled_variance(student, teacher, 10) / mu**2
    probed = fm.moments.variance(fm.gap_spectrum(student, teacher), 15) / mu**2
    assert sampled > 50 * probed


def test_cost_buys_all_pixels_where_gram_is_cheaper_than_ffa():
    assert estimators.pixels_at_cost(1024, 16, 16) == 1024
    assert estimators.pixels_at_cost(64, 64, 64) == 43  # √(2·64·15) by the direct path
    for n, cs, ct in ((256, 32, 32), (64, 64, 64), (3136, 64, 128)):
        m = estimators.pixels_at_cost(n, cs, ct)
        cost = min(fm.cost.multiply_adds(path, m, cs, ct) for path in ("direct", "gram"))
        assert cost <= fm.cost.multiply_adds("ffa", n, cs, ct, 15)


def test_the_study_finds_what_the_theory_says():
    """FFA's errors by P2 and P8, the sampled one's by E2, each within 5 errors of an rms."""
    (case,) = cases_from_pairs(
        {"maps": tuple(np.random.default_rng(3).standard_normal((2, 1, 6, 8, 8)))}
    )
    replications = 1000
    errors = {
        error["estimator"]: error
        for error in compare_estimators(
            [case], rng=np.random.default_rng(0), k=6, replications=replications
        )
    }
    m = estimators.pixels_at_cost(64, 6, 6, 6)
    expected = {
        "FFA, gaussian": fm.moments.variance(case.spectrum, 6) / case.mu**2,
        "FFA, Rademacher": fm.moments.rademacher_variance(case.student, case.teacher, 6)
        / case.mu**2,
        "sampled pixels": estimators.sampled_variance(case.student, case.teacher, m) / case.mu**2,
    }
    for name, variance in expected.items():
        assert errors[name]["value_error"] == pytest.approx(variance**0.5, rel=0.15, abs=1e-9)
    for error in errors.values():
        assert abs(error["bias_in_errors"]) < 5
