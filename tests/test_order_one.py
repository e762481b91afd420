"""FFA of order 1 and the Cauchy estimate against replications (P9–P11, B11).

A check takes the statement, so that planted errors can be handed to it. Replications form the
gap with naive loops (tests/oracles.py). Each replication test has a false-alarm rate of 1e-6.
"""

import numpy as np
import oracles
import pytest
from hypothesis import given

import faqd_math as fm
from faqd_math.testing import assert_mean, assert_rate_at_most, assert_variance, feature_pairs
from faqd_math.theory import order_one

RNG_SEED = 2303
REPLICATIONS = 40_000
K = 5


def example_pair():
    """Draw maps of 5 and 3 channels, 3×4 pixels, with a pixel that is dead in both."""
    rng = np.random.default_rng(RNG_SEED)
    student, teacher = rng.standard_normal((5, 3, 4)), rng.standard_normal((3, 3, 4))
    student[:, 1, 1] = teacher[:, 1, 1] = 0.0
    return student, teacher


STUDENT, TEACHER = example_pair()
GAP = oracles.gap(STUDENT, TEACHER)
N = len(GAP)


def ffa_draws(k=K):
    """Draw L̂₁ that many times with gaussian probes."""
    z = np.random.default_rng(RNG_SEED + 1).standard_normal((REPLICATIONS, N, k))
    return np.abs(GAP @ z).sum(axis=(1, 2)) / (k * N**2)


def cauchy_draws(estimate, k=K):
    """Estimate L₁ that many times, as a batch of equal maps with their own probes."""
    rng = np.random.default_rng(RNG_SEED + 2)
    probes = order_one.sample_cauchy_probes(N, k, rng=rng, batch=REPLICATIONS)
    student, teacher = (
        np.broadcast_to(maps, (REPLICATIONS, *maps.shape)) for maps in (STUDENT, TEACHER)
    )
    return estimate(student, teacher, probes, reduction="none")


def check_ffa_mean(ffa_mean):
    assert_mean(ffa_draws(), ffa_mean(STUDENT, TEACHER))


def check_ffa_variance(ffa_variance):
    assert_variance(ffa_draws(), ffa_variance(STUDENT, TEACHER, K))


def check_estimate(fa_order_one_estimate):
    # From k = 5 on the fourth moment that the central limit theorem's error needs is finite.
    expected = oracles.fa(STUDENT, TEACHER, order=1)
    assert_mean(cauchy_draws(fa_order_one_estimate), expected)


def check_row_relative_variance(row_relative_variance):
    """One row alone: ‖a‖₁ = 1, for which aᵀc is a standard Cauchy variable."""
    rng = np.random.default_rng(RNG_SEED + 3)
    # k = 15: the variance's own test needs a finite eighth moment to be sharp.
    k = 15
    logs = np.log(np.abs(rng.standard_cauchy((200_000, k))))
    estimates = np.cos(np.pi / (2 * k)) ** k * np.exp(logs.mean(axis=1))
    assert_mean(estimates, 1.0)
    assert_variance(estimates, row_relative_variance(k))


def check_concentration(concentration_bound):
    """Assert that it holds for draws, and gives away at most a factor 6 in the exponent."""
    spectrum = fm.gap_spectrum(STUDENT, TEACHER)
    values = ffa_draws()
    row_norms = sum(oracles.norm(row) for row in GAP)
    error = values - np.sqrt(2 / np.pi) * row_norms / N**2
    for z in (0.5, 1.0, 2.0, 3.0):
        t = z * values.std()
        hits = {"both": np.abs(error) >= t, "upper": error >= t, "lower": error <= -t}
        for tail, hit in hits.items():
            bound = concentration_bound(spectrum, N, K, t, tail=tail)
            assert_rate_at_most(hit.sum(), REPLICATIONS, bound)
    # A gaussian of this variance has the exponent z²/2 = 4.5.
    t = 3.0 * values.std()
    exponent = -np.log(concentration_bound(spectrum, N, K, t, tail="upper"))
    assert exponent > 4.5 / 6, f"{exponent} expected above {4.5 / 6}"
    deviation = t**2 * K * N**3 / (2 * np.abs(np.linalg.eigvalsh(GAP)).max() ** 2)
    np.testing.assert_allclose(exponent, deviation, rtol=1e-10)


CHECKS = {
    "ffa_mean": check_ffa_mean,
    "ffa_variance": check_ffa_variance,
    "fa_order_one_estimate": check_estimate,
    "row_relative_variance": check_row_relative_variance,
    "concentration_bound": check_concentration,
}


@pytest.mark.parametrize("name", CHECKS)
def test_statement_holds(name):
    CHECKS[name](getattr(order_one, name))


@pytest.mark.parametrize("name", CHECKS)
def test_a_wrong_constant_is_caught(name):
    statement = getattr(order_one, name)
    for factor in (0.5, 0.9):
        with pytest.raises(AssertionError, match=r"expected|exceed|tolerance"):
            CHECKS[name](lambda *a, factor=factor, **kw: factor * statement(*a, **kw))


def test_a_likely_slip_is_caught():
    def order_one_for_its_surrogate(student, teacher):
        return fm.fa_loss(student, teacher, order=1)

    def bound_for_variance(student, teacher, k):
        return (np.pi / 2 - 1) / k * order_one.ffa_mean(student, teacher) ** 2

    def without_its_constant(student, teacher, probes, reduction):
        k = probes.shape[-1]
        estimate = order_one.fa_order_one_estimate(student, teacher, probes, reduction=reduction)
        return estimate / np.cos(np.pi / (2 * k)) ** k

    def gaussian_probes(student, teacher, probes, reduction):
        z = np.random.default_rng(0).standard_normal(probes.shape)
        return order_one.fa_order_one_estimate(student, teacher, z, reduction=reduction)

    def quarter_lipschitz(spectrum, n, k, deviation, *, tail):
        return order_one.concentration_bound(spectrum / 4, n, k, deviation, tail=tail)

    for check, wrong in [
        (check_ffa_mean, order_one_for_its_surrogate),
        (check_ffa_variance, bound_for_variance),
        (check_estimate, without_its_constant),
        (check_estimate, gaussian_probes),
        (check_concentration, quarter_lipschitz),
    ]:
        with pytest.raises(AssertionError, match=r"expected|exceed"):
            check(wrong)


def test_the_whole_estimate_varies_no_more_than_one_row():
    """The rows share the probes, so their errors add at most like one: relative variance."""
    k = 15
    draws = cauchy_draws(order_one.fa_order_one_estimate, k)
    relative = draws.var() / draws.mean() ** 2
    # 5 % covers the sampling error of the variance of 40,000 draws of kurtosis below 10.
    assert 0.1 * order_one.row_relative_variance(k) < relative
    assert relative <= 1.05 * order_one.row_relative_variance(k)


def test_row_relative_variance_falls_like_pi_squared_over_four_k():
    # The next term is of relative order 1/k.
    value = order_one.row_relative_variance(10_000)
    np.testing.assert_allclose(value, np.pi**2 / 40_000, rtol=1e-3)


@given(feature_pairs())
def test_moments_agree_with_naive_sums(pair):
    maps = [m if m.ndim == 4 else m[np.newaxis] for m in pair]
    means, variances = order_one.ffa_mean(*maps), order_one.ffa_variance(*maps, 3)
    for b, (student, teacher) in enumerate(zip(*maps, strict=True)):
        gap = oracles.gap(student, teacher)
        n = len(gap)
        norms = [oracles.norm(row) for row in gap]
        expected_mean = np.sqrt(2 / np.pi) * sum(norms) / n**2
        # A row norm is off by at most about N rounding errors of entries of size 1.
        np.testing.assert_allclose(means[b], expected_mean, atol=1e-14 * n)
        total = 0.0
        for i in range(n):
            for j in range(n):
                if norms[i] > 1e-7 and norms[j] > 1e-7:
                    c = min(1.0, max(-1.0, gap[i] @ gap[j] / (norms[i] * norms[j])))
                    total += norms[i] * norms[j] * (np.sqrt(1 - c * c) + c * np.arcsin(c) - 1)
        # arcsin turns a rounding error of c near 1 into its square root, times a zero of equal
        # order in √(1 − c²); rows of rounding size are left out above.
        np.testing.assert_allclose(variances[b], 2 * total / (np.pi * 3 * n**4), atol=1e-7)
        assert variances[b] <= (np.pi / 2 - 1) / 3 * means[b] ** 2 * (1 + 1e-12)
        assert variances[b] >= 0


def test_variance_does_not_depend_on_its_blocks(monkeypatch):
    whole = order_one.ffa_variance(STUDENT, TEACHER, K)
    monkeypatch.setattr("faqd_math.theory.moments._BLOCK", 5)
    np.testing.assert_allclose(order_one.ffa_variance(STUDENT, TEACHER, K), whole, rtol=1e-13)


def test_estimate_reduces_and_shares_probes_like_the_loss():
    rng = np.random.default_rng(RNG_SEED)
    student, teacher = rng.standard_normal((2, 3, 4, 2, 3))
    probes = order_one.sample_cauchy_probes(6, 4, rng=rng)
    each = [
        order_one.fa_order_one_estimate(s, t, probes) for s, t in zip(student, teacher, strict=True)
    ]
    for reduction, expected in (("none", each), ("sum", sum(each)), ("mean", sum(each) / 3)):
        values = order_one.fa_order_one_estimate(student, teacher, probes, reduction=reduction)
        np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_equal_maps_and_zero_gaps_give_zero():
    rng = np.random.default_rng(RNG_SEED)
    dead = np.zeros((2, 2, 2))
    probes = order_one.sample_cauchy_probes(4, 3, rng=rng)
    assert order_one.fa_order_one_estimate(dead, dead, probes) == 0
    assert order_one.ffa_mean(dead, dead) == order_one.ffa_variance(dead, dead, 1) == 0
    assert order_one.concentration_bound(np.zeros(2), 4, 1, 0.1) == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: order_one.sample_cauchy_probes(4, 2, rng=np.random.default_rng()),
            ValueError,
            "k is 2; an integer of at least 3",
        ),
        (lambda: order_one.sample_cauchy_probes(4, 3, rng=0), TypeError, "rng is a int"),
        (
            lambda: order_one.fa_order_one_estimate(STUDENT, TEACHER, np.ones((N, 2))),
            ValueError,
            "number of cauchy_probes is 2",
        ),
        (
            lambda: order_one.fa_order_one_estimate(STUDENT, TEACHER, np.ones((N + 1, 3))),
            ValueError,
            "probes has shape",
        ),
        (
            lambda: order_one.fa_order_one_estimate(
                STUDENT, TEACHER, np.ones((N, 3)), reduction="max"
            ),
            ValueError,
            "reduction is 'max'",
        ),
        (lambda: order_one.row_relative_variance(2), ValueError, "k is 2"),
        (lambda: order_one.ffa_variance(STUDENT, TEACHER, 0), ValueError, "k is 0"),
        (lambda: order_one.ffa_mean(STUDENT, [1.0]), TypeError, "teacher is a list"),
        (
            lambda: order_one.concentration_bound(np.ones(1), 4, 1, 0.0),
            ValueError,
            "deviation is 0",
        ),
        (
            lambda: order_one.concentration_bound(np.ones(1), 4, 1, 0.1, tail="x"),
            ValueError,
            "tail is 'x'",
        ),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
