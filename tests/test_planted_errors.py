"""Each check can fail: wrong implementations are rejected by the check that guards against them."""

from functools import partial

import numpy as np
import pytest
import torch
from global_randomness import untouched_global_randomness
from hypothesis import find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

import faqd_math as fm
from faqd_math.features import unit_pixels
from faqd_math.testing import (
    assert_mean,
    assert_rate_at_most,
    assert_variance,
    feature_maps,
    feature_pairs,
    feature_triples,
    generators,
)
from faqd_math.testing import properties as identity
from faqd_math.testing.properties import assert_close, loss_tolerance

pairs = feature_pairs(max_batch=1, same_size=True).map(
    lambda pair: tuple(m if m.ndim == 3 else m[0] for m in pair)
)
FIND = settings(max_examples=1000, derandomize=True, database=None, deadline=None)


def rejects(check, strategy):
    """Tell whether a check fails on some drawn case."""

    def fails(case):
        try:
            check(case)
        except AssertionError:
            return True
        return False

    try:
        find(strategy, fails, settings=FIND)
    except NoSuchExample:
        return False
    return True


def gap(student, teacher, epsilon=0.0):
    def affinity(features):
        pixels = features.reshape(len(features), -1)
        norms = np.linalg.norm(pixels, axis=0) + epsilon
        x = np.divide(pixels, norms, out=np.zeros_like(pixels), where=norms > 0)
        return x.T @ x

    return affinity(student) - affinity(teacher)


def squared(a):
    return (a**2).sum() / a.size


WRONG_LOSSES = {
    "an epsilon in the norm": lambda s, t: squared(gap(s, t, epsilon=1e-5)),
    "a wrong constant": lambda s, t: 1.001 * squared(gap(s, t)),
    "the diagonal left out": lambda s, t: squared(gap(s, t) - np.diag(np.diag(gap(s, t)))),
    "N instead of N squared": lambda s, t: squared(gap(s, t)) * s[0].size,
    "a root": lambda s, t: np.sqrt(squared(gap(s, t))),
    "a Gram identity without its factor 2": lambda s, t: wrong_gram(s, t, 1.0),
    "inner products, not cosines": lambda s, t: squared(
        s.reshape(len(s), -1).T @ s.reshape(len(s), -1)
        - t.reshape(len(t), -1).T @ t.reshape(len(t), -1)
    ),
}


def wrong_gram(student, teacher, factor):
    x, y = unit_pixels(student[np.newaxis])[0][0], unit_pixels(teacher[np.newaxis])[0][0]
    squares = [(m**2).sum() for m in (x @ x.T, y @ y.T, x @ y.T)]
    return (squares[0] + squares[1] - factor * squares[2]) / x.shape[1] ** 2


@pytest.mark.parametrize("wrong", WRONG_LOSSES.values(), ids=WRONG_LOSSES)
def test_a_wrong_loss_differs_from_its_spectrum(wrong):
    assert rejects(lambda p: identity.loss_is_spectrum_norm(wrong, fm.gap_spectrum, *p), pairs)


@given(pairs)
def test_a_differently_written_right_loss_passes_every_check(pair):
    def right(student, teacher):
        a = gap(student, teacher)
        return np.einsum("ij,ij->", a, a) / len(a) ** 2

    identity.loss_is_spectrum_norm(right, fm.gap_spectrum, *pair)
    identity.loss_is_invariant(right, *pair, np.random.default_rng(0))
    identity.loss_is_bounded(right, *pair)
    identity.loss_sees_every_entry(right, fm.affinity, *pair)


def test_invariance_is_lost_with_an_epsilon_in_the_norm():
    wrong = WRONG_LOSSES["an epsilon in the norm"]
    cases = st.tuples(pairs, generators())
    assert rejects(lambda c: identity.loss_is_invariant(wrong, *c[0], c[1]), cases)


def test_bounds_of_the_loss_are_broken_without_normalisation():
    wrong = WRONG_LOSSES["inner products, not cosines"]
    assert rejects(lambda p: identity.loss_is_bounded(wrong, *p), pairs)
    assert rejects(
        lambda p: identity.loss_is_bounded(lambda s, t: -fm.fa_loss(s, t) - 1e-9, *p), pairs
    )


def test_a_squared_distance_is_no_pseudometric():
    assert rejects(
        lambda maps: identity.loss_is_a_pseudometric(fm.fa_loss, *maps, order=1), feature_triples()
    )


def test_a_loss_that_sees_the_diagonal_only_is_rejected():
    def wrong(student, teacher):
        return squared(np.diag(np.diag(gap(student, teacher))))

    assert rejects(lambda p: identity.loss_sees_every_entry(wrong, fm.affinity, *p), pairs)


def test_a_negative_definite_or_unnormalised_affinity_is_rejected():
    cases = feature_maps(leading=())
    for wrong in (lambda f: -fm.affinity(f), lambda f: fm.affinity(f) * 1.0001):
        assert rejects(lambda f, w=wrong: identity.affinity_is_a_cosine_matrix(w, f), cases)


def test_a_spectrum_of_squares_is_rejected():
    def wrong(student, teacher):
        return np.abs(fm.gap_spectrum(student, teacher))

    assert rejects(lambda p: identity.spectrum_has_rank_and_trace(wrong, *p), pairs)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda s, t, z: fm.ffa_loss(s, t, np.ones_like(z)),
        lambda s, t, z: fm.ffa_loss(s, t, z) * z.shape[1],
        lambda s, t, z: fm.ffa_loss(s, t, z / np.linalg.norm(z, axis=0)),
        lambda s, t, z: np.sqrt(fm.ffa_loss(s, t, z)),
    ],
    ids=["a fixed probe", "a missing 1/k", "renormalised probes", "a root"],
)
def test_a_wrong_use_of_probes_is_rejected(wrong):
    def check(case):
        (student, teacher), rng = case
        n = student[0].size
        probes = fm.sample_probes(n, 3, rng=rng)
        orthogonal = fm.sample_probes(n, n, law="orthogonal", rng=rng)
        identity.fast_loss_obeys_its_probes(wrong, fm.fa_loss, student, teacher, probes, orthogonal)

    assert rejects(check, st.tuples(pairs, generators()))


def test_a_gradient_without_its_projection_is_rejected():
    def wrong(student, teacher):
        x = unit_pixels(student[np.newaxis])[0][0]
        return (x @ gap(student, teacher)).reshape(student.shape)

    assert rejects(lambda p: identity.gradient_is_tangent(wrong, *p), pairs)


def test_a_gradient_that_is_nan_at_dead_pixels_is_rejected():
    def wrong(student, teacher):
        return np.where((student == 0).all(axis=0), np.nan, fm.fa_gradient(student, teacher))

    assert rejects(lambda p: identity.gradient_is_tangent(wrong, *p), pairs)


@pytest.mark.parametrize("factor", [0.5, 1.0001])
def test_a_gradient_with_a_wrong_factor_is_told_from_the_right_one(factor):
    student, teacher = np.random.default_rng(1).standard_normal((2, 4, 4, 4))
    right = fm.fa_gradient(student, teacher)
    with pytest.raises(AssertionError, match="off by"):
        assert_close(factor * right, right, loss_tolerance(student, teacher), "gradient")


def test_a_batch_sum_is_told_from_a_mean():
    batch = np.random.default_rng(2).standard_normal((2, 3, 4, 5, 5))
    single = fm.fa_loss(batch[0][:1], batch[1][:1])
    twice = [np.concatenate([m[:1], m[:1]]) for m in batch]
    assert_close(fm.fa_loss(*twice), single, loss_tolerance(*batch), "mean")
    with pytest.raises(AssertionError, match="off by"):
        assert_close(fm.fa_loss(*twice, reduction="sum"), single, loss_tolerance(*batch), "sum")


def test_nan_never_passes_a_check():
    with pytest.raises(AssertionError, match="off by nan"):
        assert_close(np.nan, 0.0, 1.0, "value")
    with pytest.raises(AssertionError, match="exceeds"):
        identity.assert_at_most(np.nan, 0.0, 1.0, "value")


# The replication tests: power against small deviations, and the false-alarm rate they state.


def test_replication_tests_accept_the_truth_and_reject_small_deviations():
    samples = np.random.default_rng(3).chisquare(7, size=20_000)
    assert_mean(samples, 7.0)
    assert_variance(samples, 14.0)
    with pytest.raises(AssertionError, match="the mean over replications is"):
        assert_mean(samples, 7.0 * 1.05)
    with pytest.raises(AssertionError, match="the variance over replications is"):
        assert_variance(samples, 14.0 * 1.25)
    with pytest.raises(AssertionError, match="the variance over replications is"):
        assert_variance(samples, 7.0)


def test_rate_test_accepts_its_bound_and_rejects_one_too_small():
    hits = np.random.default_rng(4).binomial(2000, 0.1)
    assert_rate_at_most(hits, 2000, 0.1)
    with pytest.raises(AssertionError, match=r"exceed the bound 0\.05: p = "):
        assert_rate_at_most(hits, 2000, 0.05)
    with pytest.raises(AssertionError, match="exceed the bound"):
        assert_rate_at_most(2000, 2000, 0.99, false_alarm=1e-6)


@pytest.mark.parametrize("check", [assert_mean, assert_variance])
def test_replication_tests_keep_their_false_alarm_rate(check):
    """At a stated rate of 5 %, the alarms over 1,000 true cases are binomially consistent."""
    rng = np.random.default_rng(5)
    alarms = 0
    for _ in range(1000):
        samples = rng.standard_normal(2000)
        try:
            check(samples, {assert_mean: 0.0, assert_variance: 1.0}[check], false_alarm=0.05)
        except AssertionError:
            alarms += 1
    assert_rate_at_most(alarms, 1000, 0.05)
    # And it is not idle: a test that never alarms at 5 % has no power.
    assert_rate_at_most(1000 - alarms, 1000, 0.95)


def test_a_fixed_probe_is_caught_by_the_spread_of_its_estimates():
    """A stale probe gives the same value each time: its variance is not P2's."""
    student, teacher = np.random.default_rng(6).standard_normal((2, 3, 4, 4))
    rng = np.random.default_rng(7)
    spectrum = fm.gap_spectrum(student, teacher)
    variance = 2 * (spectrum**4).sum() / 5 / 16**4

    def estimates(draw):
        return np.array([fm.ffa_loss(student, teacher, draw()) for _ in range(2000)])

    assert_variance(estimates(lambda: fm.sample_probes(16, 5, rng=rng)), variance)
    with pytest.raises(AssertionError, match="the variance over replications is"):
        assert_variance(
            estimates(lambda: fm.sample_probes(16, 5, rng=np.random.default_rng(1))), variance
        )


@pytest.mark.parametrize(
    ("touch", "name"),
    [
        (lambda: np.random.seed(1), "numpy.random"),  # noqa: NPY002  (planted)
        (lambda: np.random.random(2), "numpy.random"),  # noqa: NPY002  (planted)
        (lambda: torch.manual_seed(1), "torch"),
        (lambda: torch.rand(2), "torch"),
    ],
)
def test_touching_a_global_generator_is_noticed(touch, name):
    """The guard that every test here runs under; also where the same seed was set before."""
    noticed = partial(pytest.raises, AssertionError, match=f"generators of {name} were touched")
    with noticed(), untouched_global_randomness():
        touch()
        with noticed(), untouched_global_randomness():
            touch()
