"""Moments P1–P11 and the bound B11 of order 1, against replications.

A check takes the statement, so that planted errors can be handed to it. Replications form the gap
with naive loops (tests/oracles.py). Each replication test has a false-alarm rate of 1e-6. The
claims check the same statements on other maps through the package's own losses.
"""

import numpy as np
import oracles
import pytest
from hypothesis import given
from problems import ZERO_GAPS, batched, random_pair, scaled
from scipy import integrate, special

import faqd_math as fm
from faqd_math.testing import assert_mean, assert_rate_at_most, assert_variance, feature_pairs
from faqd_math.theory import law, moments, order_one

REPLICATIONS = 40_000
K = 3

# 5 and 3 channels, 12 pixels, of which half are dead in the student: tr A = −6 makes the third
# term of P8 an eighth of the whole, and with no dead pixel it would be 0.
STUDENT, TEACHER = random_pair(2302, dead=np.s_[:, :, ::2])
GAP = oracles.gap(STUDENT, TEACHER)
AFFINITY = oracles.affinity(STUDENT)
N = len(GAP)
SPECTRUM = fm.gap_spectrum(STUDENT, TEACHER)
ROW_NORMS = sum(oracles.norm(row) for row in GAP)


def copies(*maps):
    return (np.broadcast_to(m, (REPLICATIONS, *m.shape)) for m in maps)


def gaussian(seed, k=K):
    return np.random.default_rng(seed).standard_normal((REPLICATIONS, N, k))


def draws(probe_law="gaussian"):
    """Draw T = ‖AZ‖_F²/k."""
    rng = np.random.default_rng(1)
    z = fm.sample_probes(N, K, law=probe_law, rng=rng, batch=REPLICATIONS)
    return ((GAP @ z) ** 2).sum(axis=(1, 2)) / K


def order_one_draws():
    """Draw L̂₁."""
    return np.abs(GAP @ gaussian(2)).sum(axis=(1, 2)) / (K * N**2)


def gradient_draws():
    """Draw Ĝ by I9, and take G by I8, with respect to the unit pixels."""
    x = np.stack([f / (oracles.norm(f) or 1.0) for f in oracles.pixel_vectors(STUDENT)], axis=1)
    z = gaussian(3)
    products = GAP @ z @ z.mT
    return 2 / (K * N**2) * x @ (products + products.mT), 4 / N**2 * x @ GAP


def check_mean(mean):
    for probe_law in ("gaussian", "rademacher", "sphere", "orthogonal"):
        assert_mean(draws(probe_law), mean(SPECTRUM))


def check_variance(variance):
    assert_variance(draws(), variance(SPECTRUM, K))


def check_rademacher_variance(rademacher_variance):
    assert_variance(draws("rademacher"), rademacher_variance(STUDENT, TEACHER, K))


def check_sphere_variance(sphere_variance):
    assert_variance(draws("sphere"), sphere_variance(SPECTRUM, K, N))


def check_third_cumulant(third_cumulant):
    """Integrate E(T − μ)³ from the exact law's two tails: draws would leave 10 % open."""
    mu = (SPECTRUM**2).sum()

    def tail(t):
        side = "upper" if t > mu else "lower"
        return 3 * (t - mu) * abs(t - mu) * law.tail_probability(SPECTRUM, K, t, tail=side)

    # Beyond 20μ the tail is below e^(-20K/2).
    exact, _ = integrate.quad(tail, 0, 20 * mu, points=[mu], epsrel=1e-9)
    np.testing.assert_allclose(third_cumulant(SPECTRUM, K), exact, rtol=1e-7)


BATCH = random_pair(2302, student=(3, 5, 3, 4), teacher=(3, 3, 3, 4))


def check_batch_variance(statement, *, shared):
    """Σ_b T_b over a batch of three, with one probe matrix or with independent ones."""
    gaps = [oracles.gap(s, t) for s, t in zip(*BATCH, strict=True)]
    totals = [((gap @ gaussian(4 if shared else b)) ** 2).sum((1, 2)) for b, gap in enumerate(gaps)]
    assert_variance(sum(totals) / K, statement(*BATCH, K))


def check_shared(shared_probes_variance):
    check_batch_variance(shared_probes_variance, shared=True)


def check_independent(independent_probes_variance):
    check_batch_variance(independent_probes_variance, shared=False)


def check_root_mean(root_mean):
    """P7's error is below S₆/(k²μ³), about twice the next terms of the delta method.

    These are S₆/(2k²μ³) − 15/(32(kρ)²), of which the second is the smaller: ρ⁻² ≤ S₆/μ³.
    For equal eigenvalues E√T is closed; else it is an integral.
    """
    for r, k in [(1, 10), (1, 100), (5, 20)]:
        degrees = k * r
        ratio = np.exp(special.gammaln((degrees + 1) / 2) - special.gammaln(degrees / 2))
        exact = 3.0 * np.sqrt(2 / k) * ratio
        np.testing.assert_allclose(root_mean(np.full(r, 3.0), k), exact, rtol=degrees**-2)
    rtol = next_term(SPECTRUM, 10)
    np.testing.assert_allclose(root_mean(SPECTRUM, 10), exact_root_mean(SPECTRUM, 10), rtol=rtol)


def exact_root_mean(spectrum, k):
    """E√T = ∫ (1 − E e^(−sT)) s^(−3/2) ds/(2√π), in y = ln s.

    The trapezoidal rule converges geometrically; e^(−40) is left beyond either end.
    """
    step = 0.1
    y = np.arange(-80, 80, step)
    log_transform = -0.5 * k * np.log1p(np.outer(np.exp(y), 2 * spectrum**2 / k)).sum(axis=1)
    return step * (-np.expm1(log_transform) * np.exp(-y / 2)).sum() / (2 * np.sqrt(np.pi))


def next_term(spectrum, k):
    """S₆/(k²μ³), the relative order of what P7 leaves out."""
    return (spectrum**6).sum() / (k**2 * (spectrum**2).sum() ** 3)


def check_gradient_noise(gradient_noise):
    estimates, gradient = gradient_draws()
    noise = ((estimates - gradient) ** 2).sum(axis=(1, 2))
    assert_mean(noise, gradient_noise(STUDENT, TEACHER, K))


def check_gradient(ffa_gradient):
    """Test the mean of every entry at its share of the false-alarm rate."""
    estimates = ffa_gradient(*copies(STUDENT, TEACHER), gaussian(5), reduction="sum")
    expected = oracles.fa_gradient(STUDENT, TEACHER).ravel()
    for entries, mean in zip(estimates.reshape(REPLICATIONS, -1).T, expected, strict=True):
        # Entries of dead pixels are 0 for certain.
        assert_mean(entries, mean, false_alarm=1e-6 / len(expected))


def check_ffa_mean(ffa_mean):
    assert_mean(order_one_draws(), ffa_mean(STUDENT, TEACHER))


def check_ffa_variance(ffa_variance):
    assert_variance(order_one_draws(), ffa_variance(STUDENT, TEACHER, K))


def cauchy_draws(estimate, k):
    """Estimate L₁ that many times, as a batch of equal maps with their own probes."""
    rng = np.random.default_rng(6)
    probes = order_one.sample_cauchy_probes(N, k, rng=rng, batch=REPLICATIONS)
    return estimate(*copies(STUDENT, TEACHER), probes, reduction="none")


def check_estimate(fa_order_one_estimate):
    # From k = 5 on the fourth moment that the central limit theorem's error needs is finite.
    expected = oracles.fa(STUDENT, TEACHER, order=1)
    assert_mean(cauchy_draws(fa_order_one_estimate, 5), expected)


def check_row_relative_variance(row_relative_variance):
    """One row alone: ‖a‖₁ = 1, for which aᵀc is a standard Cauchy variable."""
    # k = 15: the variance's own test needs a finite eighth moment to be sharp.
    k = 15
    logs = np.log(np.abs(np.random.default_rng(7).standard_cauchy((200_000, k))))
    estimates = np.cos(np.pi / (2 * k)) ** k * np.exp(logs.mean(axis=1))
    assert_mean(estimates, 1.0)
    assert_variance(estimates, row_relative_variance(k))


def check_concentration(concentration_bound):
    """Assert that it holds for draws, and gives away at most a factor 6 in the exponent."""
    values = order_one_draws()
    error = values - np.sqrt(2 / np.pi) * ROW_NORMS / N**2
    for z in (0.5, 1.0, 2.0, 3.0):
        t = z * values.std()
        hits = {"both": np.abs(error) >= t, "upper": error >= t, "lower": error <= -t}
        for tail, hit in hits.items():
            bound = concentration_bound(SPECTRUM, N, K, t, tail=tail)
            assert_rate_at_most(hit.sum(), REPLICATIONS, bound)
    # A gaussian of this variance has the exponent z²/2 = 4.5.
    t = 3.0 * values.std()
    exponent = -np.log(concentration_bound(SPECTRUM, N, K, t, tail="upper"))
    assert exponent > 4.5 / 6, f"{exponent} expected above {4.5 / 6}"
    deviation = t**2 * K * N**3 / (2 * np.abs(np.linalg.eigvalsh(GAP)).max() ** 2)
    np.testing.assert_allclose(exponent, deviation, rtol=1e-10)


CHECKS = {
    moments.mean: check_mean,
    moments.variance: check_variance,
    moments.rademacher_variance: check_rademacher_variance,
    moments.sphere_variance: check_sphere_variance,
    moments.third_cumulant: check_third_cumulant,
    moments.shared_probes_variance: check_shared,
    moments.independent_probes_variance: check_independent,
    moments.root_mean: check_root_mean,
    moments.gradient_noise: check_gradient_noise,
    fm.ffa_gradient: check_gradient,
    order_one.ffa_mean: check_ffa_mean,
    order_one.ffa_variance: check_ffa_variance,
    order_one.fa_order_one_estimate: check_estimate,
    order_one.row_relative_variance: check_row_relative_variance,
    order_one.concentration_bound: check_concentration,
}


@pytest.mark.parametrize("statement", CHECKS)
def test_statement_holds(statement):
    CHECKS[statement](statement)


@pytest.mark.parametrize("statement", CHECKS)
def test_a_wrong_constant_is_caught(statement):
    for factor in (0.5, 0.9):  # a dropped factor 2, and a smaller slip
        with pytest.raises(AssertionError, match=r"expected|exceed|tolerance"):
            CHECKS[statement](scaled(statement, factor))


def noise_by_terms(k, *weights):
    """P8 with other weights for its three terms, which are 1, 1 and 1 where it is right."""
    terms = (
        (N + 4) * np.trace(AFFINITY @ GAP @ GAP),
        np.trace(AFFINITY) * (GAP**2).sum(),
        2 * np.trace(GAP @ AFFINITY) * np.trace(GAP),
    )
    return 4 / (k * N**4) * sum(w * term for w, term in zip(weights, terms, strict=True))


def estimate_without_its_constant(student, teacher, probes, reduction):
    k = probes.shape[-1]
    estimate = order_one.fa_order_one_estimate(student, teacher, probes, reduction=reduction)
    return estimate / np.cos(np.pi / (2 * k)) ** k


def estimate_by_gaussian_probes(student, teacher, probes, reduction):
    z = np.random.default_rng(0).standard_normal(probes.shape)
    return order_one.fa_order_one_estimate(student, teacher, z, reduction=reduction)


SLIPS = {
    "P3 as P2": (
        check_rademacher_variance,
        lambda s, t, k: moments.variance(fm.gap_spectrum(s, t), k),
    ),
    "P4 as P2": (check_sphere_variance, lambda spectrum, k, _: moments.variance(spectrum, k)),
    "P4, N for N + 2": (
        check_sphere_variance,
        lambda s, k, n: moments.sphere_variance(s, k, n) * (n + 2) / n,
    ),
    "P6, not shared": (check_shared, moments.independent_probes_variance),
    "P7, no bias": (check_root_mean, lambda spectrum, _: moments.mean(spectrum) ** 0.5),
    "P7, half its bias": (
        check_root_mean,
        lambda s, k: moments.mean(s) ** 0.5 * (1 - 1 / (8 * k * fm.effective_rank(s))),
    ),
    **{
        f"P8, {name}": (check_gradient_noise, lambda _s, _t, k, w=weights: noise_by_terms(k, *w))
        for name, weights in {
            "no third term": (1, 1, 0),
            "third term halved": (1, 1, 0.5),
            "no second term": (1, 0, 1),
            "N for N + 4": (N / (N + 4), 1, 1),
        }.items()
    },
    "P9 as FA of order 1": (check_ffa_mean, lambda s, t: fm.fa_loss(s, t, order=1)),
    "P10 as its bound": (
        check_ffa_variance,
        lambda s, t, k: (np.pi / 2 - 1) / k * order_one.ffa_mean(s, t) ** 2,
    ),
    "P11 without its constant": (check_estimate, estimate_without_its_constant),
    "P11 by gaussian probes": (check_estimate, estimate_by_gaussian_probes),
    "B11, a quarter of its Lipschitz constant": (
        check_concentration,
        lambda spectrum, *rest, tail: order_one.concentration_bound(spectrum / 4, *rest, tail=tail),
    ),
}


@pytest.mark.parametrize(("check", "wrong"), SLIPS.values(), ids=SLIPS)
def test_a_likely_slip_is_caught(check, wrong):
    with pytest.raises(AssertionError, match=r"expected|exceed|tolerance"):
        check(wrong)


def test_gradient_noise_and_its_reference_are_their_terms():
    noise = moments.gradient_noise(STUDENT, TEACHER, K)
    np.testing.assert_allclose(noise, noise_by_terms(K, 1, 1, 1), rtol=1e-12)
    squared = moments.gradient_squared_norm(STUDENT, TEACHER)
    np.testing.assert_allclose(squared, (gradient_draws()[1] ** 2).sum(), rtol=1e-12)


def test_root_mean_errs_by_more_than_the_effective_rank_squared():
    """One large eigenvalue above many small ones: S₆/(k²μ³) tells the error, (kρ)⁻² does not."""
    spectrum, k = np.append(1.0, np.full(1000, 0.1)), 10
    error = abs(moments.root_mean(spectrum, k) / exact_root_mean(spectrum, k) - 1)
    assert 2 / (k * fm.effective_rank(spectrum)) ** 2 < error < next_term(spectrum, k)


@given(feature_pairs())
def test_rademacher_and_sphere_are_no_noisier_than_gaussian(pair):
    student, teacher = map(batched, pair)
    n = student.shape[2] * student.shape[3]
    rademacher = moments.rademacher_variance(student, teacher, 2)
    for spectrum, value in zip(fm.gap_spectrum(student, teacher), rademacher, strict=True):
        gaussian_variance = moments.variance(spectrum, 2)
        # The spectrum's eigenvalues are off by rounding of the largest possible one, N.
        assert 0 <= value <= gaussian_variance + 1e-12 * n**4
        assert 0 <= moments.sphere_variance(spectrum, 2, n) <= gaussian_variance


@given(feature_pairs())
def test_sharing_probes_costs_at_most_a_factor_of_the_batch_size(pair):
    shared = moments.shared_probes_variance(*pair, 2)
    independent = moments.independent_probes_variance(*pair, 2)
    most = len(batched(pair[0])) * independent
    assert independent * (1 - 1e-12) <= shared <= most * (1 + 1e-12)


@given(feature_pairs())
def test_gap_factor_squares_to_the_squared_gap(pair):
    x, y, _ = fm.features.unit_pixel_pair(*map(batched, pair))
    gap = x.mT @ x - y.mT @ y
    u = moments.gap_factor(x, y)
    # Entries of A² are sums of N terms of size up to 4.
    np.testing.assert_allclose(u.mT @ u, gap @ gap, rtol=0, atol=1e-13 * gap.shape[-1])


@given(feature_pairs())
def test_a_batch_gives_one_value_per_sample(pair):
    student, teacher = pair
    for statement in (moments.rademacher_variance, moments.gradient_noise):
        values = statement(student, teacher, 3)
        if student.ndim == 3:
            assert isinstance(values, float)
        else:
            each = [statement(s, t, 3) for s, t in zip(student, teacher, strict=True)]
            # Batched and single products may sum in another order.
            np.testing.assert_allclose(values, each, rtol=1e-9, atol=1e-13)


@given(feature_pairs())
def test_moments_of_order_one_agree_with_naive_sums(pair):
    maps = [batched(m) for m in pair]
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
        assert 0 <= variances[b] <= (np.pi / 2 - 1) / 3 * means[b] ** 2 * (1 + 1e-12)


def test_the_whole_cauchy_estimate_varies_no_more_than_one_row():
    """The rows share the probes, so their errors add at most like one: relative variance."""
    values = cauchy_draws(order_one.fa_order_one_estimate, 15)
    relative = values.var() / values.mean() ** 2
    # 5 % covers the sampling error of the variance of 40,000 draws of kurtosis below 10.
    of_a_row = order_one.row_relative_variance(15)
    assert 0.1 * of_a_row < relative <= 1.05 * of_a_row


def test_row_relative_variance_falls_like_pi_squared_over_four_k():
    # The next term is of relative order 1/k.
    value = order_one.row_relative_variance(10_000)
    np.testing.assert_allclose(value, np.pi**2 / 40_000, rtol=1e-3)


def test_variance_does_not_depend_on_its_blocks():
    """Two samples of 400 pixels take two blocks of rows each; their pixels permuted, others."""
    student, teacher = random_pair(8, student=(2, 4, 20, 20), teacher=(2, 3, 20, 20))
    order = np.random.default_rng(9).permutation(400)
    permuted = (m.reshape(2, -1, 400)[..., order].reshape(m.shape) for m in (student, teacher))
    expected = order_one.ffa_variance(student, teacher, K)
    np.testing.assert_allclose(order_one.ffa_variance(*permuted, K), expected, rtol=1e-12)


def test_the_cauchy_estimate_reduces_and_shares_probes_like_the_loss():
    student, teacher = random_pair(10, student=(3, 4, 2, 3), teacher=(3, 4, 2, 3))
    probes = order_one.sample_cauchy_probes(6, 4, rng=np.random.default_rng(11))
    estimate = order_one.fa_order_one_estimate
    each = [estimate(s, t, probes) for s, t in zip(student, teacher, strict=True)]
    for reduction, expected in (("none", each), ("sum", sum(each)), ("mean", sum(each) / 3)):
        values = estimate(student, teacher, probes, reduction=reduction)
        np.testing.assert_allclose(values, expected, rtol=1e-12)


@pytest.mark.parametrize("spectrum", ZERO_GAPS.values(), ids=ZERO_GAPS)
def test_a_zero_gap_has_zero_moments(spectrum):
    assert moments.mean(spectrum) == moments.root_mean(spectrum, 3) == 0
    assert moments.variance(spectrum, 3) == moments.sphere_variance(spectrum, 3, 9) == 0
    assert moments.third_cumulant(spectrum, 3) == 0
    assert order_one.concentration_bound(spectrum, 4, 1, 0.1) == 0
    dead = np.zeros((2, 2, 2))
    probes = order_one.sample_cauchy_probes(4, 3, rng=np.random.default_rng(0))
    assert order_one.fa_order_one_estimate(dead, dead, probes) == 0
    assert order_one.ffa_mean(dead, dead) == order_one.ffa_variance(dead, dead, 1) == 0
