"""Moments P1–P7 against replications, and against the exact law where it gives them.

A check takes the statement, so that planted errors can be handed to it. Replications form the
gap with naive loops (tests/oracles.py). Each replication test has a false-alarm rate of 1e-6.
"""

import numpy as np
import oracles
import pytest
from hypothesis import given
from scipy import integrate, special

import faqd_math as fm
from faqd_math.testing import assert_mean, assert_variance, feature_pairs
from faqd_math.theory import law, moments

RNG_SEED = 2302
REPLICATIONS = 40_000
K = 3


def example_pair(batch=None):
    """Draw maps of 5 and 3 channels, 3×4 pixels, with a dead pixel in the first student's."""
    rng = np.random.default_rng(RNG_SEED)
    leading = () if batch is None else (batch,)
    student = rng.standard_normal((*leading, 5, 3, 4))
    teacher = rng.standard_normal((*leading, 3, 3, 4))
    student.reshape(-1, 5, 3, 4)[0, :, 1, 1] = 0.0
    return student, teacher


STUDENT, TEACHER = example_pair()
GAP = oracles.gap(STUDENT, TEACHER)
SPECTRUM = fm.gap_spectrum(STUDENT, TEACHER)


def draws(gap, k, probe_law="gaussian", replications=REPLICATIONS):
    """Draw T = ‖AZ‖_F²/k that many times."""
    rng = np.random.default_rng(RNG_SEED + 1)
    z = fm.sample_probes(len(gap), k, law=probe_law, rng=rng, batch=replications)
    return ((gap @ z) ** 2).sum(axis=(1, 2)) / k


def check_mean(mean):
    for probe_law in ("gaussian", "rademacher", "sphere", "orthogonal"):
        assert_mean(draws(GAP, K, probe_law), mean(SPECTRUM))


def check_variance(variance):
    assert_variance(draws(GAP, K), variance(SPECTRUM, K))


def check_rademacher_variance(rademacher_variance):
    assert_variance(draws(GAP, K, "rademacher"), rademacher_variance(STUDENT, TEACHER, K))


def check_sphere_variance(sphere_variance):
    assert_variance(draws(GAP, K, "sphere"), sphere_variance(SPECTRUM, K, len(GAP)))


def check_third_cumulant(third_cumulant):
    """Integrate E(T − μ)³ from the exact law's two tails: draws would leave 10 % open."""
    mu = (SPECTRUM**2).sum()

    def tail(t):
        side = "upper" if t > mu else "lower"
        return 3 * (t - mu) * abs(t - mu) * law.tail_probability(SPECTRUM, K, t, tail=side)

    # Beyond 20μ the tail is below e^(-20K/2).
    exact, _ = integrate.quad(tail, 0, 20 * mu, points=[mu], epsrel=1e-9)
    np.testing.assert_allclose(third_cumulant(SPECTRUM, K), exact, rtol=1e-7)


def batch_sums(shared):
    """Σ_b T_b over a batch of three, with one probe matrix or with independent ones."""
    rng = np.random.default_rng(RNG_SEED + 2)
    student, teacher = example_pair(batch=3)
    gaps = [oracles.gap(s, t) for s, t in zip(student, teacher, strict=True)]
    shape = (REPLICATIONS, len(gaps[0]), K)
    z = rng.standard_normal(shape)
    total = np.zeros(REPLICATIONS)
    for gap in gaps:
        total += ((gap @ z) ** 2).sum(axis=(1, 2)) / K
        z = z if shared else rng.standard_normal(shape)
    return total, student, teacher


def check_shared_probes_variance(shared_probes_variance):
    total, student, teacher = batch_sums(shared=True)
    assert_variance(total, shared_probes_variance(student, teacher, K))


def check_independent_probes_variance(independent_probes_variance):
    total, student, teacher = batch_sums(shared=False)
    assert_variance(total, independent_probes_variance(student, teacher, K))


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


CHECKS = {
    "mean": check_mean,
    "variance": check_variance,
    "rademacher_variance": check_rademacher_variance,
    "sphere_variance": check_sphere_variance,
    "third_cumulant": check_third_cumulant,
    "shared_probes_variance": check_shared_probes_variance,
    "independent_probes_variance": check_independent_probes_variance,
    "root_mean": check_root_mean,
}


@pytest.mark.parametrize("name", CHECKS)
def test_statement_holds(name):
    CHECKS[name](getattr(moments, name))


@pytest.mark.parametrize("name", CHECKS)
def test_a_wrong_constant_is_caught(name):
    statement = getattr(moments, name)
    for factor in (0.5, 0.9):  # a dropped factor 2, and a smaller slip
        with pytest.raises(AssertionError, match=r"expected|tolerance"):
            CHECKS[name](lambda *args, factor=factor: factor * statement(*args))


def test_a_likely_slip_is_caught():
    def gaussian_for_rademacher(student, teacher, k):
        return moments.variance(fm.gap_spectrum(student, teacher), k)

    def eighth_not_quarter(spectrum, k):
        return np.sqrt(moments.mean(spectrum)) * (1 - 1 / (8 * k * fm.effective_rank(spectrum)))

    for check, wrong in [
        (check_rademacher_variance, gaussian_for_rademacher),
        (check_shared_probes_variance, moments.independent_probes_variance),
        (check_root_mean, lambda spectrum, _: np.sqrt(moments.mean(spectrum))),
        (check_root_mean, eighth_not_quarter),
        (check_sphere_variance, lambda spectrum, k, _: moments.variance(spectrum, k)),
        (check_sphere_variance, lambda s, k, n: moments.sphere_variance(s, k, n) * (n + 2) / n),
    ]:
        with pytest.raises(AssertionError, match=r"expected|tolerance"):
            check(wrong)


def test_root_mean_errs_by_more_than_the_effective_rank_squared():
    """One large eigenvalue above many small ones: S₆/(k²μ³) tells the error, (kρ)⁻² does not."""
    spectrum, k = np.append(1.0, np.full(1000, 0.1)), 10
    error = abs(moments.root_mean(spectrum, k) / exact_root_mean(spectrum, k) - 1)
    assert 2 / (k * fm.effective_rank(spectrum)) ** 2 < error < next_term(spectrum, k)


@given(feature_pairs())
def test_rademacher_and_sphere_are_no_noisier_than_gaussian(pair):
    student, teacher = (maps if maps.ndim == 4 else maps[np.newaxis] for maps in pair)
    n = student.shape[2] * student.shape[3]
    rademacher = moments.rademacher_variance(student, teacher, 2)
    for spectrum, value in zip(fm.gap_spectrum(student, teacher), rademacher, strict=True):
        gaussian = moments.variance(spectrum, 2)
        # The spectrum's eigenvalues are off by rounding of the largest possible one, N.
        slack = 1e-12 * n**4
        assert 0 <= value <= gaussian + slack
        assert 0 <= moments.sphere_variance(spectrum, 2, n) <= gaussian


@given(feature_pairs())
def test_sharing_probes_costs_at_most_a_factor_of_the_batch_size(pair):
    batch = len(pair[0]) if pair[0].ndim == 4 else 1
    shared = moments.shared_probes_variance(*pair, 2)
    independent = moments.independent_probes_variance(*pair, 2)
    assert independent * (1 - 1e-12) <= shared <= batch * independent * (1 + 1e-12)


@given(feature_pairs())
def test_gap_factor_squares_to_the_squared_gap(pair):
    student, teacher = (maps if maps.ndim == 4 else maps[np.newaxis] for maps in pair)
    x, y, _ = fm.features.unit_pixel_pair(student, teacher)
    gap = x.mT @ x - y.mT @ y
    u = moments.gap_factor(x, y)
    # Entries of A² are sums of N terms of size up to 4.
    np.testing.assert_allclose(u.mT @ u, gap @ gap, rtol=0, atol=1e-13 * gap.shape[-1])


@given(feature_pairs())
def test_a_batch_gives_one_value_a_sample(pair):
    student, teacher = pair
    for statement in (moments.rademacher_variance, moments.gradient_noise):
        values = statement(student, teacher, 3)
        if student.ndim == 3:
            assert isinstance(values, float)
        else:
            each = [statement(s, t, 3) for s, t in zip(student, teacher, strict=True)]
            # Batched and single products may sum in another order.
            np.testing.assert_allclose(values, each, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize(
    "statement",
    [
        moments.mean,
        lambda s: moments.variance(s, 1),
        lambda s: moments.third_cumulant(s, 1),
        lambda s: moments.sphere_variance(s, 1, 9),
        lambda s: moments.root_mean(s, 1),
    ],
    ids=["mean", "variance", "third_cumulant", "sphere_variance", "root_mean"],
)
def test_eigenvalues_beyond_any_gap_are_refused(statement):
    assert np.isfinite(statement(np.array([2.0**53, 1.0])))
    with pytest.raises(ValueError, match=r"an eigenvalue of size 1e\+100; those of a gap are at"):
        statement(np.array([1.0, -1e100]))


@pytest.mark.parametrize("spectrum", [np.empty(0), np.zeros(4)], ids=["empty", "zero"])
def test_a_zero_gap_has_zero_moments(spectrum):
    assert moments.mean(spectrum) == moments.root_mean(spectrum, 3) == 0
    assert moments.variance(spectrum, 3) == moments.sphere_variance(spectrum, 3, 9) == 0
    assert moments.third_cumulant(spectrum, 3) == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: moments.mean([1.0]), TypeError, "spectrum is a list"),
        (lambda: moments.variance(np.ones(2), 0), ValueError, "k is 0"),
        (lambda: moments.third_cumulant(np.ones(2), 2.0), TypeError, "k is a float"),
        (lambda: moments.sphere_variance(np.ones(3), 1, 2), ValueError, "n is 2, but the spectrum"),
        (lambda: moments.root_mean(np.ones(2), -1), ValueError, "k is -1"),
        (lambda: moments.rademacher_variance(STUDENT, TEACHER, 0), ValueError, "k is 0"),
        (lambda: moments.gradient_noise(STUDENT, TEACHER[0], 1), ValueError, "teacher has shape"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
