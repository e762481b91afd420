"""P12, the loss of a random projection, against draws of the projection."""

import numpy as np
import oracles
import pytest
from hypothesis import given

import faqd_math as fm
from faqd_math.testing import feature_maps
from faqd_math.theory import moments

RNG_SEED = 2312
TEACHER = np.random.default_rng(RNG_SEED).standard_normal((3, 3, 4))


def check_projected_loss(projected_loss):
    """Draw 10,000 maps for each number of channels, whose mean has 0.5 % of standard error.

    The variance of a cosine of C gaussian pairs is (1−s²)²/C·(1 + 11s²/(2C) + …) and its squared
    bias s²(1−s²)²/(4C²), so the delta method is low by 23/(4C) of the mean s², weighted by
    (1−s²)². With that, 4 % leaves room for the next term, (23/(4C))², and for the draws.
    """
    rng = np.random.default_rng(RNG_SEED + 1)
    teacher = rng.standard_normal((4, 5, 5))
    teacher[:, 0, 0] = 0.0
    pixels = teacher.reshape(4, -1)
    squares = oracles.affinity(teacher)[1:, 1:] ** 2
    weighted = (squares * (1 - squares) ** 2).sum() / ((1 - squares) ** 2).sum()
    for channels in (16, 64):
        student = (rng.standard_normal((10_000, channels, 4)) @ pixels).reshape(-1, channels, 5, 5)
        same = np.broadcast_to(teacher, (10_000, 4, 5, 5))
        loss = fm.fa_loss(student, same, reduction="mean")
        expected = projected_loss(teacher, channels) * (1 + 23 / (4 * channels) * weighted)
        np.testing.assert_allclose(expected, loss, rtol=0.04)


def test_projected_loss_is_the_mean_over_random_maps():
    check_projected_loss(moments.projected_loss)


@pytest.mark.parametrize("factor", [0.5, 0.9])
def test_a_wrong_constant_is_caught(factor):
    with pytest.raises(AssertionError, match="tolerance"):
        check_projected_loss(lambda *args: factor * moments.projected_loss(*args))


@given(feature_maps(max_batch=2, max_channels=4, max_side=3))
def test_projected_loss_is_the_mean_of_its_naive_pairs(teacher):
    maps = teacher if teacher.ndim == 4 else teacher[np.newaxis]
    expected = []
    for sample in maps:
        s = oracles.affinity(sample)
        live = [oracles.norm(f) > 0 for f in oracles.pixel_vectors(sample)]
        pairs = [(i, j) for i in range(len(s)) for j in range(len(s)) if live[i] and live[j]]
        expected.append(sum((1 - s[i, j] ** 2) ** 2 for i, j in pairs) / (7 * len(s) ** 2))
    np.testing.assert_allclose(moments.projected_loss(maps, 7), expected, rtol=1e-12, atol=1e-15)


def test_projected_loss_does_not_depend_on_its_blocks(monkeypatch):
    whole = moments.projected_loss(TEACHER, 8)
    monkeypatch.setattr(moments, "_BLOCK", 5)
    np.testing.assert_allclose(moments.projected_loss(TEACHER, 8), whole, rtol=1e-14)


def test_channels_needed_is_the_smallest_number():
    needed = moments.channels_needed(TEACHER, 0.01)
    assert moments.projected_loss(TEACHER, needed) <= 0.01
    assert moments.projected_loss(TEACHER, needed - 1) > 0.01
    assert moments.channels_needed(np.ones((2, 3, 3)), 0.01) == 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: moments.projected_loss(TEACHER, 0), ValueError, "channels is 0"),
        (lambda: moments.channels_needed(TEACHER, 0.0), ValueError, "loss is 0"),
        (
            lambda: moments.channels_needed(TEACHER, 1e-320),
            ValueError,
            r"loss is 1e-320, for which 2\*\*53 channels are too few",
        ),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
