"""P8, the noise of FFA's gradient, against replications.

A check takes the statement, so that planted errors can be handed to it. Replications form the
gap with naive loops (tests/oracles.py). Each replication test has a false-alarm rate of 1e-6.
"""

import numpy as np
import oracles
import pytest

import faqd_math as fm
from faqd_math.testing import assert_mean
from faqd_math.theory import moments

RNG_SEED = 2308
REPLICATIONS = 40_000
K = 3


def example_pair():
    """Draw maps of 5 and 3 channels, 3×4 pixels, half of the student's dead.

    tr A = −6 makes 2 tr(AS) tr(A) an eighth of the whole: without dead pixels it is 0.
    """
    rng = np.random.default_rng(RNG_SEED)
    student, teacher = rng.standard_normal((5, 3, 4)), rng.standard_normal((3, 3, 4))
    student[:, :, ::2] = 0.0
    return student, teacher


STUDENT, TEACHER = example_pair()
GAP = oracles.gap(STUDENT, TEACHER)
AFFINITY = oracles.affinity(STUDENT)
N = len(GAP)


def gradient_draws():
    """Draw Ĝ by I9, and take G by I8, with respect to the unit pixels, from the naive gap."""
    x = np.stack([f / (oracles.norm(f) or 1.0) for f in oracles.pixel_vectors(STUDENT)], axis=1)
    z = np.random.default_rng(RNG_SEED + 1).standard_normal((REPLICATIONS, N, K))
    products = GAP @ z @ z.mT
    estimates = 2 / (K * N**2) * x @ (products + products.mT)
    return estimates, 4 / N**2 * x @ GAP


def check_gradient_noise(gradient_noise):
    estimates, gradient = gradient_draws()
    noise = ((estimates - gradient) ** 2).sum(axis=(1, 2))
    assert_mean(noise, gradient_noise(STUDENT, TEACHER, K))


def check_unbiased(ffa_gradient):
    """Test the mean of every entry at its share of the false-alarm rate."""
    z = np.random.default_rng(RNG_SEED + 2).standard_normal((REPLICATIONS, N, K))
    copies = (np.broadcast_to(maps, (REPLICATIONS, *maps.shape)) for maps in (STUDENT, TEACHER))
    estimates = ffa_gradient(*copies, z, reduction="sum").reshape(REPLICATIONS, -1)
    expected = oracles.fa_gradient(STUDENT, TEACHER).ravel()
    for entries, mean in zip(estimates.T, expected, strict=True):
        # Entries of dead pixels are 0 for certain.
        assert_mean(entries, mean, false_alarm=1e-6 / len(expected))


def noise_by_terms(k, *weights):
    """P8 with other weights for its three terms, which are 1, 1 and 1 where it is right."""
    terms = (
        (N + 4) * np.trace(AFFINITY @ GAP @ GAP),
        np.trace(AFFINITY) * (GAP**2).sum(),
        2 * np.trace(GAP @ AFFINITY) * np.trace(GAP),
    )
    return 4 / (k * N**4) * sum(w * term for w, term in zip(weights, terms, strict=True))


def test_gradient_noise_is_as_stated():
    check_gradient_noise(moments.gradient_noise)
    expected = noise_by_terms(K, 1, 1, 1)
    np.testing.assert_allclose(moments.gradient_noise(STUDENT, TEACHER, K), expected, rtol=1e-12)


@pytest.mark.parametrize(
    "weights",
    [(1, 1, 0), (1, 1, 0.5), (1, 0, 1), (N / (N + 4), 1, 1), (0.9, 0.9, 0.9)],
    ids=["no third term", "third halved", "no second term", "N for N + 4", "a smaller slip"],
)
def test_a_wrong_term_is_caught(weights):
    with pytest.raises(AssertionError, match="expected"):
        check_gradient_noise(lambda _student, _teacher, k: noise_by_terms(k, *weights))


def test_ffa_gradient_is_unbiased():
    check_unbiased(fm.ffa_gradient)


@pytest.mark.parametrize("factor", [K / (K + 1), 2.0, 0.9])
def test_a_biased_gradient_is_caught(factor):
    with pytest.raises(AssertionError, match="expected"):
        check_unbiased(lambda *args, **options: factor * fm.ffa_gradient(*args, **options))


def test_gradient_reference_is_the_squared_norm_of_the_gradient():
    _, gradient = gradient_draws()
    expected = (gradient**2).sum()
    actual = moments.gradient_squared_norm(STUDENT, TEACHER)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)
