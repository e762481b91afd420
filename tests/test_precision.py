"""Floating point (§5): every float64 path against a 50-digit value, as the gap closes."""

import mpmath
import numpy as np
import pytest

import faqd_math as fm
from faqd_math.losses import CANCELLATION

UNIT_ROUNDOFF = np.finfo(float).eps / 2
N, C = 16, 3
GAPS = [10.0**-e for e in range(0, 11, 2)]


def extended_fa(student, teacher):
    """Return L to 50 digits, and (‖S_s‖² + ‖S_t‖²)/μ, which the errors grow with."""
    with mpmath.workdps(50):
        affinities = []
        for features in (student, teacher):
            pixels = [
                [mpmath.mpf(float(v)) for v in p] for p in features.reshape(len(features), -1).T
            ]
            norms = [mpmath.sqrt(mpmath.fsum(v * v for v in p)) for p in pixels]
            affinities.append(
                [
                    [mpmath.fdot(p, q) / (a * b) for q, b in zip(pixels, norms, strict=True)]
                    for p, a in zip(pixels, norms, strict=True)
                ]
            )
        s, t = affinities
        index = [(i, j) for i in range(N) for j in range(N)]
        mu = mpmath.fsum((s[i][j] - t[i][j]) ** 2 for i, j in index)
        size = mpmath.fsum(s[i][j] ** 2 + t[i][j] ** 2 for i, j in index)
        return mu / N**2, float(size / mu)


def close_pair(gap, seed):
    rng = np.random.default_rng(seed)
    student = rng.standard_normal((C, 4, 4))
    return student, student + gap * rng.standard_normal(student.shape)


def relative_error(value, exact):
    return float(abs(mpmath.mpf(value) - exact) / exact)


def rounding_bound(method, cancellation):
    """Bound the relative error: 2(2C + N + 8)·u·√(size/μ), or twice u·size/μ by Gram.

    An entry of the gap is off by at most (4C + 16)u and of RJRᵀ by a modest multiple of Nu
    relative to the norms; squaring doubles the relative error: first powers of cosines cancel.
    The Gram identity subtracts squares. "auto" takes it as long as its cancellation is below
    1/CANCELLATION.
    """
    by_gram = method == "gram" or (method == "auto" and cancellation * CANCELLATION < 1)
    factor = 2 * cancellation if by_gram else np.sqrt(cancellation)
    return 2 * (2 * C + N + 8) * UNIT_ROUNDOFF * factor


def worst_share_of_the_bound(method, gap):
    """Largest error over its bound, over five pairs."""
    worst = 0.0
    for seed in range(5):
        pair = close_pair(gap, seed)
        exact, cancellation = extended_fa(*pair)
        error = relative_error(fm.fa_loss(*pair, method=method), exact)
        worst = max(worst, error / rounding_bound(method, cancellation))
    return worst


@pytest.mark.parametrize("method", ["auto", "direct", "gram", "spectrum"])
def test_error_is_within_its_bound_at_every_gap_and_the_bound_within_a_factor_500(method):
    """The bound adds up worst cases of the roundings; one far above would say nothing."""
    worst = [worst_share_of_the_bound(method, gap) for gap in GAPS]
    assert max(worst) <= 1
    assert max(worst) >= 1 / 500


def test_bound_of_the_safe_paths_is_false_for_gram():
    _, cancellation = extended_fa(*close_pair(1e-6, 0))
    excess = rounding_bound("gram", cancellation) / rounding_bound("direct", cancellation)
    assert worst_share_of_the_bound("gram", 1e-6) * excess > 1


def test_gram_path_loses_what_the_safe_path_keeps():
    """At a gap of 1e-9 the Gram identity has no correct digit left, auto has six."""
    pair = close_pair(1e-9, 0)
    exact, _ = extended_fa(*pair)
    assert relative_error(fm.fa_loss(*pair, method="gram"), exact) > 0.5
    assert relative_error(fm.fa_loss(*pair), exact) < 1e-6


@pytest.mark.parametrize("gap", GAPS)
def test_ffa_errs_by_the_root_of_the_cancellation(gap):
    student, teacher = close_pair(gap, 1)
    probes = fm.sample_probes(N, N, law="orthogonal", rng=np.random.default_rng(2))
    exact, cancellation = extended_fa(student, teacher)
    # N orthogonal probes give FA (I7); they add their own N roundings to each entry.
    bound = 4 * (2 * C + 2 * N + 8) * UNIT_ROUNDOFF * np.sqrt(cancellation)
    error = relative_error(fm.ffa_loss(student, teacher, probes), exact)
    assert bound / 2000 <= error <= bound


def test_equal_affinities_give_rounding_and_nothing_negative():
    student = np.random.default_rng(3).standard_normal((C, 4, 4))
    for method in ("auto", "direct", "gram", "spectrum"):
        value = fm.fa_loss(student, -5 * student, method=method)
        assert 0 <= value <= (64 * UNIT_ROUNDOFF if method == "gram" else 1e-28)
