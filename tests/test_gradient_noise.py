"""P8, the noise of FFA's gradient, against replications with the gap of naive loops.

Each replication test has a false-alarm rate of 1e-6; half of the student's pixels are dead, so that
each of P8's three terms counts.
"""

import numpy as np
import oracles
import pytest

import faqd_math as fm
from faqd_math.testing import assert_mean
from faqd_math.theory import moments

REPLICATIONS, K = 40_000, 3
RNG = np.random.default_rng(2308)
STUDENT, TEACHER = RNG.standard_normal((5, 3, 4)), RNG.standard_normal((3, 3, 4))
STUDENT[:, :, ::2] = 0.0
GAP, AFFINITY = oracles.gap(STUDENT, TEACHER), oracles.affinity(STUDENT)
N = len(GAP)


def gradient_draws():
    """Draw Ĝ by I9, and take G by I8, with respect to the unit pixels, from the naive gap."""
    x = np.stack([f / (oracles.norm(f) or 1.0) for f in oracles.pixel_vectors(STUDENT)], axis=1)
    z = np.random.default_rng(1).standard_normal((REPLICATIONS, N, K))
    products = GAP @ z @ z.mT
    estimates = 2 / (K * N**2) * x @ (products + products.mT)
    return estimates, 4 / N**2 * x @ GAP


def noise_by_terms(*weights):
    """P8 with other weights for its three terms, which are 1, 1 and 1 where it is right."""
    terms = (
        (N + 4) * np.trace(AFFINITY @ GAP @ GAP),
        np.trace(AFFINITY) * (GAP**2).sum(),
        2 * np.trace(GAP @ AFFINITY) * np.trace(GAP),
    )
    return 4 / (K * N**4) * sum(w * term for w, term in zip(weights, terms, strict=True))


def test_gradient_noise_is_as_stated_and_a_wrong_term_is_caught():
    estimates, gradient = gradient_draws()
    noise = ((estimates - gradient) ** 2).sum(axis=(1, 2))
    stated = moments.gradient_noise(STUDENT, TEACHER, K)
    assert_mean(noise, stated)
    np.testing.assert_allclose(stated, noise_by_terms(1, 1, 1), rtol=1e-12)
    for weights in ((1, 1, 0), (1, 1, 0.5), (1, 0, 1), (N / (N + 4), 1, 1), (0.9, 0.9, 0.9)):
        with pytest.raises(AssertionError, match="expected"):
            assert_mean(noise, noise_by_terms(*weights))
    squared = moments.gradient_squared_norm(STUDENT, TEACHER)
    np.testing.assert_allclose(squared, (gradient**2).sum(), rtol=1e-12)


@pytest.mark.parametrize("factor", [1, K / (K + 1), 0.9])
def test_ffa_gradient_is_unbiased_and_a_bias_is_caught(factor):
    """Test the mean of every entry at its share of the false-alarm rate."""
    z = np.random.default_rng(2).standard_normal((REPLICATIONS, N, K))
    copies = (np.broadcast_to(maps, (REPLICATIONS, *maps.shape)) for maps in (STUDENT, TEACHER))
    estimates = factor * fm.ffa_gradient(*copies, z, reduction="sum").reshape(REPLICATIONS, -1)
    expected = oracles.fa_gradient(STUDENT, TEACHER).ravel()

    def check():
        for entries, mean in zip(estimates.T, expected, strict=True):
            assert_mean(entries, mean, false_alarm=1e-6 / len(expected))

    if factor == 1:
        check()
    else:
        with pytest.raises(AssertionError, match="expected"):
            check()
