"""Q1–Q5: weight projections against brute force, and what holds for every weight."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from faqd_math.quantize import (
    activation_derivatives,
    alternating_projection,
    project_weights,
    quantize_activations,
)
from faqd_math.released import losses as released
from faqd_math.testing import weight_arrays

BITS = st.integers(1, 8)
# Largest size whose assignments a test can list: at most 3^6, 7^4, 15^3 and 31^2 of them.
BRUTE_FORCE_SIZE = {1: 8, 2: 6, 3: 4, 4: 3, 5: 2}


def relative_error(weights, values):
    """‖w − q‖²/‖w‖²; the peak is divided out first, so that squares stay in range."""
    peak = np.abs(weights).max() or 1.0
    scaled = weights / peak
    return (((weights - values) / peak) ** 2).sum() / ((scaled**2).sum() or 1.0)


def level_codes(bits):
    return [-1, 1] if bits == 1 else list(range(1 - 2 ** (bits - 1), 2 ** (bits - 1)))


def brute_force_error(weights, bits):
    """Least error over every assignment of codes, each with its own least-squares step > 0."""
    w = weights.ravel() / (np.abs(weights).max() or 1.0)
    codes = np.array(list(itertools.product(level_codes(bits), repeat=w.size)), dtype=float)
    square = np.maximum((codes**2).sum(axis=1), 1)
    steps = np.maximum(codes @ w / square, 0)
    errors = ((w - steps[:, None] * codes) ** 2).sum(axis=1)
    return errors.min() / ((w**2).sum() or 1.0)


def interval_error(weights, bits):
    """Least error over one δ from every interval between breakpoints, each evaluated directly."""
    w, top = np.abs(weights), 2 ** (bits - 1) - 1
    breakpoints = np.unique([w / (j - 0.5) for j in range(1, top + 1)])
    best = np.inf
    for step in (breakpoints[:-1] + breakpoints[1:]) / 2:
        codes = np.minimum(np.rint(w / step), top)
        best = min(best, ((w - (w @ codes) / (codes @ codes) * codes) ** 2).sum())
    return best / (w @ w)


def assert_exact(weights, bits, values, *, oracle=brute_force_error):
    # Choosing by running sums costs at most 2n·2^{b−1}·u < 1e-12 for the sizes here; the errors
    # themselves are sums of squares with relative rounding far below that.
    error, least = relative_error(weights, values), oracle(weights, bits)
    assert abs(error - least) <= 1e-12, f"the error is {error}, but the least one {least}"


@given(st.data(), st.sampled_from(sorted(BRUTE_FORCE_SIZE)))
def test_projection_equals_brute_force(data, bits):
    weights = data.draw(weight_arrays(BRUTE_FORCE_SIZE[bits]))
    assert_exact(weights, bits, project_weights(weights, bits).values)


@pytest.mark.parametrize(("bits", "n"), [(2, 400), (3, 200), (4, 200), (5, 100), (8, 12)])
@pytest.mark.parametrize("law", ["normal", "laplace", "standard_t"])
def test_projection_equals_search_of_every_interval(bits, n, law):
    rng = np.random.default_rng(bits)
    weights = rng.standard_t(2, n) if law == "standard_t" else getattr(rng, law)(size=n)
    assert_exact(weights, bits, project_weights(weights, bits).values, oracle=interval_error)


def missing_level(weights, bits):
    codes = np.clip(project_weights(weights, bits).codes, 2 - 2 ** (bits - 1), 2 ** (bits - 1) - 2)
    return with_best_step(weights, codes)


PLANTED = {
    "a scale averaged over dropped weights": (2, lambda w, _: released.ternary(w)),
    "max|w| as the step": (2, lambda w, _: np.abs(w).max() * np.rint(w / np.abs(w).max())),
    **{
        f"a sweep of {bits} bits {moves:+d} breakpoint": (
            bits,
            lambda w, bits, moves=moves: moved_one_breakpoint(w, bits, moves),
        )
        for bits in (2, 3, 4, 5)
        for moves in (-1, 1)
    },
    "3 bits without a level": (3, missing_level),
    "4 bits without a level": (4, missing_level),
}


@pytest.mark.parametrize(("bits", "plant"), PLANTED.values(), ids=PLANTED)
def test_planted_errors_are_caught(bits, plant):
    weights = np.random.default_rng(0).standard_normal(60)
    with pytest.raises(AssertionError, match="but the least one"):
        assert_exact(weights, bits, plant(weights, bits), oracle=interval_error)


def with_best_step(weights, codes):
    return (weights * codes).sum() / (codes**2).sum() * codes


def moved_one_breakpoint(weights, bits, moves):
    """Return the candidate next to the best one in the sweep, with its least-squares step."""
    codes, top = project_weights(weights, bits).codes, 2 ** (bits - 1) - 1
    magnitudes = np.abs(codes)
    if moves > 0:
        reached = np.where(magnitudes < top, np.abs(weights) / (magnitudes + 0.5), -np.inf)
        moved = reached.argmax()
    else:
        reached = np.where(
            magnitudes > 0, np.abs(weights) / np.maximum(magnitudes - 0.5, 0.5), np.inf
        )
        moved = reached.argmin()
    magnitudes[moved] += moves
    return with_best_step(weights, np.sign(weights) * magnitudes)


@given(weight_arrays(), BITS)
def test_projection_is_idempotent(weights, bits):
    once = project_weights(weights, bits).values
    twice = project_weights(once, bits).values
    # The level set is the same; only the least-squares step is summed and rounded anew.
    np.testing.assert_allclose(twice, once, rtol=1e-13, atol=0)


@given(weight_arrays(), BITS, st.sampled_from([2.0**-30, 0.5, 4.0, 2.0**40]))
def test_projection_scales_with_powers_of_two_exactly(weights, bits, factor):
    original, scaled = project_weights(weights, bits), project_weights(factor * weights, bits)
    assert (scaled.codes == original.codes).all()
    assert scaled.step == factor * original.step


@given(weight_arrays(), st.integers(2, 8))
def test_projection_is_odd_from_two_bits_on(weights, bits):
    assert (project_weights(-weights, bits).values == -project_weights(weights, bits).values).all()


@given(weight_arrays())
def test_one_bit_is_odd_except_at_zero_which_takes_the_positive_level(weights):
    positive, negative = project_weights(weights, 1), project_weights(-weights, 1)
    live = weights != 0
    assert (negative.values[live] == -positive.values[live]).all()
    assert (positive.codes[~live] == 1).all()
    assert (negative.codes[~live] == 1).all()


@given(weight_arrays(), BITS)
def test_step_is_the_least_squares_step_of_the_codes(weights, bits):
    values, codes, step = project_weights(weights, bits)
    assert (values == step * codes).all()
    assert set(np.unique(codes)) <= set(level_codes(bits))
    if codes.any():
        # Each product is exact to u, and ⟨w,q⟩ has no cancellation as w and q agree in sign.
        best = (weights * codes).sum() / (codes**2).sum()
        np.testing.assert_allclose(step, best, rtol=1e-13)


@given(weight_arrays(), BITS, st.data())
def test_per_channel_equals_a_loop_over_channels(weights, bits, data):
    axis = data.draw(st.integers(-weights.ndim, weights.ndim - 1))
    projection = project_weights(weights, bits, channel_axis=axis)
    for i in range(weights.shape[axis]):
        index = [slice(None)] * weights.ndim
        index[axis] = slice(i, i + 1)
        alone = project_weights(weights[tuple(index)], bits)
        assert (projection.values[tuple(index)] == alone.values).all()
        assert (projection.codes[tuple(index)] == alone.codes).all()
        assert projection.step[i] == alone.step


def test_per_channel_is_at_least_as_close_as_per_tensor():
    weights = np.random.default_rng(0).standard_normal((8, 27)) * np.arange(1.0, 9)[:, None]
    errors = [
        relative_error(weights, project_weights(weights, 4, channel_axis=axis).values)
        for axis in (0, None)
    ]
    # Scales from 1 to 8 cost a shared step more than a tenth of the error.
    assert errors[0] < 0.9 * errors[1]


@pytest.mark.parametrize(("bits", "levels"), [(1, 2), (2, 3), (3, 7), (4, 15), (5, 31), (6, 63)])
def test_bits_name_the_level_set(bits, levels):
    weights = np.random.default_rng(0).uniform(-1, 1, 5_000)
    assert len(np.unique(project_weights(weights, bits).values)) == levels
    assert len(np.unique(alternating_projection(weights, bits, iterations=3)[0].values)) == levels


@pytest.mark.parametrize("bits", range(1, 9))
def test_all_zero_weights_stay_zero(bits):
    weights = np.zeros((2, 3))
    alternated, errors = alternating_projection(weights, bits, iterations=2)
    for projection in (project_weights(weights, bits), alternated):
        assert projection.step == 0
        assert not projection.values.any()
    assert not errors.any()


@given(weight_arrays(), BITS, st.one_of(st.none(), st.floats(1e-6, 1.99)))
@example(np.array([1e300]), 4, 1e-6)
def test_alternating_never_increases_the_error_and_exact_is_no_worse(weights, bits, share):
    peak = np.abs(weights).max()
    step = share * peak if share and peak else None
    projection, errors = alternating_projection(weights, bits, iterations=6, initial_step=step)
    norm = np.linalg.norm(weights / (peak or 1.0)) * (peak or 1.0)
    # An error's own rounding is below n·u·‖w‖.
    slack = 1e-14 * norm
    assert (np.diff(errors) <= slack).all()
    assert errors[0] <= norm + slack
    difference = (weights - projection.values) / (peak or 1.0)
    assert errors[-1] == pytest.approx(np.linalg.norm(difference) * peak, abs=slack)
    exact = relative_error(weights, project_weights(weights, bits).values)
    assert exact <= relative_error(weights, projection.values) + 1e-12


def test_alternating_first_rounds_then_fits_the_step():
    weights = np.array([1.0, 0.75, 0.125, 0.125])
    # From δ = 1.75 only the 1 is at least halfway, and δ becomes 1; from there 0.75 joins.
    projection, errors = alternating_projection(weights, 2, iterations=1, initial_step=1.75)
    assert projection.codes.tolist() == [1, 0, 0, 0]
    assert errors[0] ** 2 == pytest.approx(0.75**2 + 2 * 0.125**2, rel=1e-15)
    projection, errors = alternating_projection(weights, 2, iterations=2, initial_step=1.75)
    assert projection.codes.tolist() == [1, 1, 0, 0]
    assert projection.step == 0.875


def test_halfway_rounds_towards_zero():
    projection, _ = alternating_projection(
        np.array([3.0, 1.5, 0.5, -0.5]), 3, iterations=1, initial_step=1.0
    )
    assert projection.codes.tolist() == [3, 1, 0, 0]


@pytest.mark.parametrize("bits", range(1, 9))
def test_the_step_derivative_of_activations_is_the_mean_of_the_true_one(bits):
    """What Q5 defines is the claim; off the breakpoints the true derivative of jα in α is j."""
    middles = np.arange(2**bits - 1) + 0.5
    bump = 2.0**-20
    values = quantize_activations(middles, bits, 1.0)
    true = (quantize_activations(middles, bits, 1 + bump) - values) / bump
    assert activation_derivatives(middles, bits, 1.0)[1].mean() == true.mean()
    assert (quantize_activations(values, bits, 1.0) == values).all()
