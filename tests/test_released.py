"""The as-released losses: naive loops of their definitions, and defects R1, R4, R5, R6 as facts."""

import re

import numpy as np
import oracles
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import poch

import faqd_math
from faqd_math import sample_probes
from faqd_math.released import losses as released
from faqd_math.testing import assert_mean, feature_pairs, generators

# Entries of A and AZ are O(1) sums of at most 11 products, and their totals over N² of O(10);
# float64 leaves 1e-14 of them, and a forgotten 1e-5 in a norm of 10⁻³ … 10⁴ leaves 1e-9 or more.
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def naive_gaps(student, teacher, offset):
    """One gap A a sample, entry by entry."""
    if student.ndim == 3:
        student, teacher = student[None], teacher[None]
    height, width = student.shape[2:]
    gaps = []
    for s, t in zip(student, teacher, strict=True):
        t = oracles.resize(t, height, width)
        pixels = [(s[:, i, j], t[:, i, j]) for i in range(height) for j in range(width)]
        gap = np.empty((len(pixels), len(pixels)))
        for i, (si, ti) in enumerate(pixels):
            for j, (sj, tj) in enumerate(pixels):
                gap[i, j] = cosine(si, sj, offset) - cosine(ti, tj, offset)
        gaps.append(gap)
    return gaps


def cosine(a, b, offset):
    return sum((a / (np.sqrt(sum(a**2)) + offset)) * (b / (np.sqrt(sum(b**2)) + offset)))


def naive_fa(student, teacher, order):
    gaps = naive_gaps(student, teacher, 1e-5)
    n = len(gaps[0])
    if order == 1:
        return sum(abs(entry) for gap in gaps for entry in gap.flat) / n**2
    return np.sqrt(sum(entry**2 for gap in gaps for entry in gap.flat)) / n


def naive_ffa(student, teacher, probes, order):
    gaps = naive_gaps(student, teacher, 0.0)
    n, k = probes.shape
    total = 0.0
    for gap in gaps:
        for i in range(n):
            for j in range(k):
                total += abs(sum(gap[i] * probes[:, j])) ** order / k
    return total / n**2 if order == 1 else np.sqrt(total) / n


@given(feature_pairs(same_size=True, max_side=3), st.sampled_from([1, 2]))
def test_fa_equals_the_loop(pair, order):
    np.testing.assert_allclose(released.fa_loss(*pair, order), naive_fa(*pair, order), **CLOSE)


@given(feature_pairs(same_size=True, max_side=3), st.sampled_from([1, 2]), generators())
def test_ffa_equals_the_loop(pair, order, rng):
    assume(all(abs(maps).max(axis=-3).min() > 0 for maps in pair))  # dead pixels: see R4
    n = pair[0].shape[-2] * pair[0].shape[-1]
    probes = sample_probes(n, 3, rng=rng)
    value = released.ffa_loss(*pair, probes, order)
    np.testing.assert_allclose(value, naive_ffa(*pair, probes, order), **CLOSE)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(
    ("student_size", "teacher_size"),
    [((3, 4), (2, 2)), ((2, 3), (5, 4)), ((1, 3), (4, 2)), ((3, 2), (1, 1)), ((1, 1), (3, 3))],
)
def test_teacher_is_resized_with_aligned_corners(student_size, teacher_size, order):
    rng = np.random.default_rng(0)
    student = rng.standard_normal((2, 3, *student_size))
    teacher = rng.standard_normal((2, 5, *teacher_size))
    probes = sample_probes(student_size[0] * student_size[1], 2, rng=rng)
    fa, ffa = naive_fa(student, teacher, order), naive_ffa(student, teacher, probes, order)
    np.testing.assert_allclose(released.fa_loss(student, teacher, order), fa, **CLOSE)
    np.testing.assert_allclose(released.ffa_loss(student, teacher, probes, order), ffa, **CLOSE)


def test_default_order_is_one():
    student, teacher = np.random.default_rng(0).standard_normal((2, 3, 2, 2))
    probes = np.eye(4)
    assert released.fa_loss(student, teacher) == released.fa_loss(student, teacher, 1)
    assert released.ffa_loss(student, teacher, probes) == released.ffa_loss(
        student, teacher, probes, 1
    )


def random_maps(side, channels=3, seed=0):
    return np.random.default_rng(seed).standard_normal((2, channels, side, side))


def gap_of(student, teacher):
    return faqd_math.affinity(student) - faqd_math.affinity(teacher)


def two_one_norm(student, teacher):
    """Order-1 FFA's expectation (P9): √(2/π)·Σ_i‖a_i‖₂/N²."""
    gap = gap_of(student, teacher)
    return np.sqrt(2 / np.pi) * np.linalg.norm(gap, axis=1).sum() / len(gap) ** 2


@pytest.fixture(scope="module")
def order_one_values():
    """R1's left-hand side: 2,000 replications of order-1 FFA on one pair of 8×8 maps."""
    student, teacher = random_maps(8)
    rng = np.random.default_rng(1)
    probes = (sample_probes(64, 2, rng=rng) for _ in range(2_000))
    return np.array([released.ffa_loss(student, teacher, z) for z in probes])


def test_r1_ffa_of_order_one_estimates_the_two_one_norm(order_one_values):
    assert_mean(order_one_values, two_one_norm(*random_maps(8)))


def test_r1_ffa_of_order_one_does_not_estimate_fa(order_one_values):
    with pytest.raises(AssertionError, match="the mean over replications"):
        assert_mean(order_one_values, released.fa_loss(*random_maps(8)))


@pytest.mark.parametrize(("side", "audited"), [(32, 0.030), (16, 0.061), (8, 0.122)])
@pytest.mark.parametrize(
    ("channels", "floor"), [(3, -np.inf), (16, 0.0)], ids=["gaussian", "rectified"]
)
def test_r1_ratio_falls_as_the_root_of_the_pixels(side, audited, channels, floor):
    student, teacher = np.maximum(random_maps(side, channels), floor)
    ratio = two_one_norm(student, teacher) / released.fa_loss(student, teacher)
    # √(2/π)/√N <= ratio for every map, as ‖a‖₁ <= √N‖a‖₂. For these maps ratio·√N is √(2/π) times
    # rms over mean of the entries: 1 for gaussian entries (many channels), 0.977 for 3 channels
    # (differences of two uniform cosines); the zero diagonal adds at most 0.8 %. So 3 % covers
    # them, and the audit's maps, which are not recorded; its ratios are rounded to 1e-3.
    assert ratio >= np.sqrt(2 / np.pi) / side
    assert ratio == pytest.approx(1 / side, rel=0.03, abs=0)
    assert abs(ratio - audited) <= 0.03 * audited + 5e-4


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("which", [0, 1])
def test_r4_one_dead_pixel_gives_nan_here_and_nowhere_else(order, which):
    pair = random_maps(4)
    pair[which, :, 2, 1] = 0
    probes = sample_probes(16, 15, rng=np.random.default_rng(1))
    assert np.isnan(released.ffa_loss(*pair, probes, order))
    assert np.isfinite(faqd_math.ffa_loss(*pair, probes, order=order))
    assert np.isfinite(released.fa_loss(*pair, order))


@pytest.fixture(scope="module")
def root_values():
    """4,000 replications of order-2 FFA, k = 2, where A = ssᵀ − ttᵀ with s ⟂ t, so ρ = 2."""
    student = np.array([1.0, 1.0, 1.0, 1.0]).reshape(1, 2, 2)
    teacher = np.array([1.0, -1.0, 1.0, -1.0]).reshape(1, 2, 2)
    rng = np.random.default_rng(0)
    probes = (sample_probes(4, 2, rng=rng) for _ in range(4_000))
    return np.array([released.ffa_loss(student, teacher, z, 2) for z in probes])


def test_r5_root_has_the_mean_of_a_chi_variable(root_values):
    # Two eigenvalues ±N: kT = N²χ²_{2k}, so E√T/N = √(2/k)·Γ(k + ½)/Γ(k), with k = 2.
    assert_mean(root_values, np.sqrt(2 / 2) * poch(2, 0.5))


def test_r5_root_is_biased_low_as_the_delta_method_says(root_values):
    k, rho, root = 2, 2, np.sqrt(2)
    exact = np.sqrt(2 / k) * poch(k, 0.5)
    # The next term of Γ(k + ½)/(Γ(k)√k) is 1/(128k²), and the rest is smaller.
    assert exact == pytest.approx(root * (1 - 1 / (4 * k * rho)), rel=2 / (128 * k**2), abs=0)
    with pytest.raises(AssertionError, match="the mean over replications"):
        assert_mean(root_values, root)


@given(feature_pairs(max_side=3), generators())
def test_r6_order_one_doubles_with_the_batch_and_order_two_grows_by_its_root(pair, rng):
    student, teacher = (maps if maps.ndim == 4 else maps[None] for maps in pair)
    twice = np.concatenate([student, student]), np.concatenate([teacher, teacher])
    probes = sample_probes(student.shape[-2] * student.shape[-1], 3, rng=rng)
    for order, factor in ((1, 2.0), (2, np.sqrt(2))):
        fa, ffa = (
            released.fa_loss(student, teacher, order),
            released.ffa_loss(student, teacher, probes, order),
        )
        np.testing.assert_allclose(released.fa_loss(*twice, order), factor * fa, **CLOSE)
        # NaN equals NaN here: the pairs hold dead pixels too.
        np.testing.assert_allclose(released.ffa_loss(*twice, probes, order), factor * ffa, **CLOSE)


MAPS = np.ones((2, 3, 2, 2))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: released.fa_loss(MAPS, MAPS, 3), ValueError, "order is 3; accepted are 1, 2"),
        (lambda: released.fa_loss(MAPS, MAPS[:1]), ValueError, "both must be single maps or"),
        (lambda: released.fa_loss(MAPS * np.nan, MAPS), ValueError, "student holds 24 entries"),
        (lambda: released.ffa_loss(MAPS, MAPS, np.eye(4), 0), ValueError, "order is 0; accepted"),
        (lambda: released.ffa_loss(MAPS, MAPS[0], np.eye(4)), ValueError, "both must be single"),
        (lambda: released.ffa_loss(MAPS, MAPS, np.eye(3)), ValueError, "has 4 pixels in a batch"),
        (
            lambda: released.ffa_loss(MAPS, MAPS, np.ones((2, 4, 1))),
            ValueError,
            "probes has shape (2, 4, 1); the released FFA accepts (4, k), shared by the batch: "
            "pass one sample's probes.",
        ),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
