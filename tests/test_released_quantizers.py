"""The as-released quantizers against naive loops of their definitions."""

import re

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from faqd_math.quantize import alternating_projection, project_weights
from faqd_math.released import losses as released
from faqd_math.testing import generators

WEIGHTS = st.one_of(
    npst.arrays(np.float64, npst.array_shapes(max_side=5), elements=st.integers(-15, 15)),
    st.tuples(generators(), st.integers(1, 40)).map(lambda pair: pair[0].standard_normal(pair[1])),
)


def naive_quantizer(weights, code, scale):
    flat = [code(abs(w)) for w in weights.flat]
    size = scale([abs(w) for w in weights.flat], flat)
    signed = [size * q * float(np.sign(w)) for q, w in zip(flat, weights.flat, strict=True)]
    return np.array(signed).reshape(weights.shape)


def naive_four_bit_code(magnitude, unit):
    for j in range(1, 7):
        if (2 * j - 1) * unit < magnitude <= (2 * j + 1) * unit:
            return j
    return 7 if magnitude > 13 * unit else 0


def least_squares(magnitudes, codes):
    square = sum(q * q for q in codes)
    return sum(w * q for w, q in zip(magnitudes, codes, strict=True)) / square if square else 0.0


def mean_of_kept(magnitudes, codes):
    return sum(w * q for w, q in zip(magnitudes, codes, strict=True)) / len(codes)


@given(WEIGHTS)
def test_binary_equals_the_loop(weights):
    naive = naive_quantizer(weights, lambda _: 1, mean_of_kept)
    np.testing.assert_allclose(released.binary(weights), naive, rtol=1e-14)


@given(WEIGHTS)
def test_ternary_equals_the_loop(weights):
    threshold = 0.7 * np.abs(weights).mean()
    naive = naive_quantizer(weights, lambda w: int(w >= threshold), mean_of_kept)
    np.testing.assert_allclose(released.ternary(weights), naive, rtol=1e-14)


@given(WEIGHTS)
def test_four_bit_equals_the_loop(weights):
    unit = np.abs(weights).max() / 15
    naive = naive_quantizer(weights, lambda w: naive_four_bit_code(w, unit), least_squares)
    np.testing.assert_allclose(released.four_bit(weights), naive, rtol=1e-14)


@given(WEIGHTS)
def test_four_bit_is_one_lloyd_iteration(weights):
    assume(weights.any())
    step = 2 * (np.abs(weights).max() / 15)
    projection, _ = alternating_projection(weights, 4, iterations=1, initial_step=step)
    np.testing.assert_allclose(released.four_bit(weights), projection.values, rtol=1e-14)


def test_ternary_scale_is_below_least_squares_by_the_kept_share():
    weights = np.random.default_rng(0).standard_normal(1_000)
    kept = released.ternary(weights) != 0
    scale = released.ternary(weights).max()
    assert scale / np.abs(weights)[kept].mean() == pytest.approx(kept.mean(), rel=1e-13)
    # P(|w| >= 0.7·√(2/π)) of a normal weight is 0.5765; six standard deviations of 1,000 draws.
    assert kept.mean() == pytest.approx(0.5765, abs=6 * np.sqrt(0.25 / 1_000))


def test_ternary_keeps_a_weight_at_the_threshold():
    # 7 = 0.7·mean, exactly: both are kept, at (7 + 13)/2.
    assert released.ternary(np.array([7.0, -13.0])).tolist() == [10.0, -10.0]


def squared_error(weights, values):
    return ((weights - values) ** 2).sum()


@given(WEIGHTS)
def test_exact_is_no_worse_than_lloyd_and_lloyd_no_worse_than_released(weights):
    assume(weights.any())
    step = 2 * (np.abs(weights).max() / 15)
    lloyd, _ = alternating_projection(weights, 4, iterations=5, initial_step=step)
    candidates = project_weights(weights, 4), lloyd
    exact, alternated = (squared_error(weights, p.values) for p in candidates)
    slack = 1e-12 * (weights**2).sum()  # from choosing by running sums, see project_weights
    assert exact <= alternated + slack
    assert alternated <= squared_error(weights, released.four_bit(weights)) + slack
    ternary = squared_error(weights, project_weights(weights, 2).values)
    assert ternary <= squared_error(weights, released.ternary(weights)) + slack


@pytest.mark.parametrize(("bits", "quantizer"), [(2, released.ternary), (4, released.four_bit)])
def test_released_leaves_a_tenth_more_error_on_gaussian_weights(bits, quantizer):
    weights = np.random.default_rng(0).standard_normal(2_000)
    exact = squared_error(weights, project_weights(weights, bits).values)
    assert squared_error(weights, quantizer(weights)) > 1.1 * exact


@pytest.mark.parametrize("quantizer", [released.binary, released.ternary, released.four_bit])
def test_all_zero_weights_stay_zero(quantizer):
    assert quantizer(np.zeros((2, 3))).tolist() == [[0.0] * 3] * 2


def test_step_gradient_is_scaled_then_clamped():
    x, upstream = np.array([-1.0, 0.5, 1.5, 99.0]), np.array([7.0, 1.0, -3.0, 2.0])
    # Three bits: 0, 4, 4 and 7 times the upstream derivatives sum to 6.
    gradient = released.activation_step_gradient(x, 3, 1.0, upstream)
    assert gradient == pytest.approx(0.06, rel=1e-15)
    assert released.activation_step_gradient(x, 3, 1.0, 100 * upstream) == 1.0
    assert released.activation_step_gradient(x, 3, 1.0, -100 * upstream) == -1.0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: released.binary([1.0]), TypeError, "weights is a list; a NumPy array"),
        (lambda: released.ternary(np.arange(3)), TypeError, "weights has dtype int64"),
        (lambda: released.four_bit(np.ones((0, 2))), ValueError, "weights has shape (0, 2), which"),
        (
            lambda: released.activation_step_gradient(np.ones(3), 2, 1.0, np.ones(2)),
            ValueError,
            "upstream has shape (2,) and x (3,); equal shapes are accepted: pass the derivative",
        ),
        (
            lambda: released.activation_step_gradient(np.ones(3), 9, 1.0, np.ones(3)),
            ValueError,
            "bits is 9; an integer from 1 to 8",
        ),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
