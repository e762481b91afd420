"""Each check can fail: wrong implementations are rejected by the check that guards against them."""

from functools import partial

import numpy as np
import pytest
import torch
from global_randomness import untouched_global_randomness
from hypothesis import find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from problems import single_pairs as pairs

import faqd_math as fm
from faqd_math.features import unit_pixels
from faqd_math.testing import (
    assert_mean,
    assert_rate_at_most,
    assert_variance,
    feature_maps,
    feature_triples,
    generators,
)
from faqd_math.testing import properties as identity
from faqd_math.testing.properties import assert_close

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


# test_mutations.py has more.
WRONG_LOSSES = {
    "an epsilon in the norm": lambda s, t: squared(gap(s, t, epsilon=1e-5)),
    "a wrong constant": lambda s, t: 1.001 * squared(gap(s, t)),
    "the diagonal left out": lambda s, t: squared(gap(s, t) - np.diag(np.diag(gap(s, t)))),
    "inner products, not cosines": lambda s, t: squared(
        s.reshape(len(s), -1).T @ s.reshape(len(s), -1)
        - t.reshape(len(t), -1).T @ t.reshape(len(t), -1)
    ),
}


def fast(wrong):
    """Check a wrong FFA with three probes and with N orthogonal ones."""

    def check(case):
        (student, teacher), rng = case
        n = student[0].size
        probes = fm.sample_probes(n, 3, rng=rng)
        orthogonal = fm.sample_probes(n, n, law="orthogonal", rng=rng)
        identity.fast_loss_obeys_its_probes(wrong, fm.fa_loss, student, teacher, probes, orthogonal)

    return check, st.tuples(pairs, generators())


def of_pairs(assertion, *wrong):
    return lambda pair: assertion(*wrong, *pair), pairs


def unprojected(student, teacher):
    x = unit_pixels(student[np.newaxis])[0][0]
    return (x @ gap(student, teacher)).reshape(student.shape)


def nan_at_dead_pixels(student, teacher):
    return np.where((student == 0).all(axis=0), np.nan, fm.fa_gradient(student, teacher))


# What is wrong, the check that must reject it, and what the check is searched over.
WRONG = {
    "an ε in the norm changes with scales": (
        lambda c: identity.loss_is_invariant(WRONG_LOSSES["an epsilon in the norm"], *c[0], c[1]),
        st.tuples(pairs, generators()),
    ),
    "inner products are not bounded": of_pairs(
        identity.loss_is_bounded, WRONG_LOSSES["inner products, not cosines"]
    ),
    "a negative loss": of_pairs(identity.loss_is_bounded, lambda s, t: -fm.fa_loss(s, t) - 1e-9),
    "a squared distance is not a pseudometric": (
        lambda maps: identity.loss_is_a_pseudometric(fm.fa_loss, *maps, order=1),
        feature_triples(),
    ),
    "a loss of the diagonal only": of_pairs(
        identity.loss_sees_every_entry,
        lambda s, t: squared(np.diag(np.diag(gap(s, t)))),
        fm.affinity,
    ),
    "a negative definite affinity": (
        lambda f: identity.affinity_is_a_cosine_matrix(lambda g: -fm.affinity(g), f),
        feature_maps(leading=()),
    ),
    "an affinity of 1.0001": (
        lambda f: identity.affinity_is_a_cosine_matrix(lambda g: 1.0001 * fm.affinity(g), f),
        feature_maps(leading=()),
    ),
    "a spectrum without signs": of_pairs(
        identity.spectrum_has_rank_and_trace, lambda s, t: np.abs(fm.gap_spectrum(s, t))
    ),
    "a fixed probe": fast(lambda s, t, z: fm.ffa_loss(s, t, np.ones_like(z))),
    "a missing 1/k": fast(lambda s, t, z: fm.ffa_loss(s, t, z) * z.shape[1]),
    "normalised probes": fast(lambda s, t, z: fm.ffa_loss(s, t, z / np.linalg.norm(z, axis=0))),
    "a root": fast(lambda s, t, z: np.sqrt(fm.ffa_loss(s, t, z))),
    "a gradient that is not projected": of_pairs(identity.gradient_is_tangent, unprojected),
    "a gradient of NaN at dead pixels": of_pairs(identity.gradient_is_tangent, nan_at_dead_pixels),
    **{
        f"{name}, against the spectrum": of_pairs(
            identity.loss_is_spectrum_norm, wrong, fm.gap_spectrum
        )
        for name, wrong in WRONG_LOSSES.items()
    },
}


@pytest.mark.parametrize(("check", "strategy"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_rejected(check, strategy):
    assert rejects(check, strategy)


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
