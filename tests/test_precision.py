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


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("method", ["auto", "direct", "spectrum"])
def test_safe_paths_err_by_the_root_of_the_cancellation(method, gap):
    """Relative error ≤ 2(2C + N + 8)·u·√(size/μ): first powers of cosines cancel, not squares.

    An entry of the gap is off by at most (4C + 16)u and of RJRᵀ by a modest multiple of Nu
    relative to the norms; squaring doubles the relative error. "auto" takes the Gram path as long
    as its cancellation is below 1/CANCELLATION.
    """
    for seed in range(5):
        pair = close_pair(gap, seed)
        exact, cancellation = extended_fa(*pair)
        factor = np.sqrt(cancellation)
        if method == "auto" and cancellation * CANCELLATION < 1:
            factor = 2 * cancellation
        bound = 2 * (2 * C + N + 8) * UNIT_ROUNDOFF * factor
        assert relative_error(fm.fa_loss(*pair, method=method), exact) <= bound


@pytest.mark.parametrize("gap", GAPS)
def test_gram_path_errs_by_the_whole_cancellation(gap):
    for seed in range(5):
        pair = close_pair(gap, seed)
        exact, cancellation = extended_fa(*pair)
        bound = 4 * (2 * C + N + 8) * UNIT_ROUNDOFF * cancellation
        value = fm.fa_loss(*pair, method="gram")
        assert value >= 0
        assert relative_error(value, exact) <= max(bound, 1.0)


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
    assert relative_error(fm.ffa_loss(student, teacher, probes), exact) <= bound


def test_equal_affinities_give_rounding_and_nothing_negative():
    student = np.random.default_rng(3).standard_normal((C, 4, 4))
    for method in ("auto", "direct", "gram", "spectrum"):
        value = fm.fa_loss(student, -5 * student, method=method)
        assert 0 <= value <= (64 * UNIT_ROUNDOFF if method == "gram" else 1e-28)
