"""Weight projections in torch: exact, alternating, and as released."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from faqd_math.quantize import alternating_projection
from faqd_math.quantize import project_weights as reference_projection
from faqd_math.released import losses as released
from faqd_math.testing import generators
from faqd_train.quantization import weights
from faqd_train.quantization.released import RELEASED
from faqd_train.quantization.weights import as_rows, lloyd_step, project_weights

BITS = [1, 2, 3, 4, 8]
LAWS = {
    "normal": lambda rng, size: rng.standard_normal(size),
    "heavy tails": lambda rng, size: rng.standard_t(1.5, size),
    "many scales": lambda rng, size: 10.0 ** rng.uniform(-6, 3, size),
    "one outlier": lambda rng, size: np.append(rng.uniform(-1, 1, size - 1), 1e4),
    "two clusters": lambda rng, size: rng.choice([0.1, 3.0], size) * rng.uniform(0.9, 1.1, size),
}


@pytest.mark.parametrize("law", LAWS)
@given(generators(), st.integers(1, 300), st.sampled_from(BITS))
def test_exact_projection_equals_the_reference(law, rng, size, bits):
    weights = LAWS[law](rng, size)
    projected = project_weights(torch.from_numpy(weights), bits).numpy()
    # Both are exact up to sums of n·2^(b−1) <= 38,400 terms in float64.
    np.testing.assert_allclose(
        projected, reference_projection(weights, bits).values, rtol=1e-11, atol=0
    )


@given(npst.arrays(np.float64, st.integers(1, 30), elements=st.integers(-9, 9)))
@pytest.mark.parametrize("bits", BITS)
def test_tied_weights_are_projected_as_well_as_the_reference(bits, weights):
    projected = project_weights(torch.from_numpy(weights), bits).numpy()
    best = reference_projection(weights, bits).values
    error, least = (((weights - q) ** 2).sum() for q in (projected, best))
    assert error <= least + 1e-12 * (weights**2).sum()


@given(generators(), st.sampled_from(BITS))
def test_float32_projection_is_as_near_as_the_reference(rng, bits):
    weights = rng.standard_normal((4, 3, 3)).astype(np.float32)
    projected = project_weights(torch.from_numpy(weights), bits).numpy()
    error = np.linalg.norm(weights.astype(float) - projected)
    best = np.linalg.norm(weights - reference_projection(weights, bits).values)
    # Rounding each level moves the error by at most u·‖w‖, u = 2⁻²⁴.
    assert error <= best + 2**-23 * np.linalg.norm(weights)


@given(generators(), st.sampled_from(BITS))
def test_each_channel_is_projected_as_if_alone(rng, bits):
    weights = rng.standard_normal((5, 3, 2, 2)) * 10.0 ** rng.uniform(-3, 3, (5, 1, 1, 1))
    projected = project_weights(torch.from_numpy(weights), bits, per_channel=True).numpy()
    expected = reference_projection(weights, bits, channel_axis=0).values
    np.testing.assert_allclose(projected, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("bits", BITS)
def test_a_whole_layer_is_projected_exactly(bits):
    weights = np.random.default_rng(bits).standard_normal(36_864 if bits < 8 else 5_000)
    projected = project_weights(torch.from_numpy(weights), bits).numpy()
    np.testing.assert_allclose(
        projected, reference_projection(weights, bits).values, rtol=1e-10, atol=0
    )


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_stays_visible(bits, bad):
    weights = torch.tensor([[1.0, bad, -2.0], [1.0, 2.0, 3.0]])
    projected = project_weights(weights, bits, per_channel=True)
    assert not torch.isfinite(projected[0]).all()
    assert torch.isfinite(projected[1]).all()


@given(generators(), st.integers(2, 100), st.sampled_from([2, 3, 4, 8]), st.integers(1, 5))
def test_alternating_steps_equal_the_reference(rng, size, bits, iterations):
    weights = rng.standard_normal(size)
    start = rng.uniform(0.1, 1.5) * np.abs(weights).max()
    reference, _ = alternating_projection(weights, bits, iterations=iterations, initial_step=start)
    rows = torch.from_numpy(weights)[None]
    found = lloyd_step(rows, bits, torch.tensor([[start]]).double(), iterations).item()
    assert found == pytest.approx(reference.step, rel=1e-12)


@given(generators(), st.integers(1, 100))
def test_one_bit_alternates_to_the_mean_at_once(rng, size):
    rows = torch.from_numpy(rng.standard_normal((1, size)))
    start = rows.abs().amax(1, keepdim=True)
    assert lloyd_step(rows, 1, start, 1).item() == pytest.approx(rows.abs().mean().item())


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("start", [0.0, 1e9])
def test_alternating_recovers_from_a_useless_step(bits, start):
    weights = np.random.default_rng(1).standard_normal(500)
    rows, step = torch.from_numpy(weights)[None], torch.full((1, 1), start).double()
    least = np.linalg.norm(weights - reference_projection(weights, bits).values)
    step = lloyd_step(rows, bits, step, 30).item()
    top = 2 ** (bits - 1) - 1
    codes = np.clip(np.ceil(np.abs(weights) / step - 0.5), 0, top)
    error = np.linalg.norm(np.abs(weights) - step * codes)
    # A local minimum: the worst of these four cases is 1.0063 times the global one.
    assert least * (1 - 1e-12) <= error <= 1.01 * least


@pytest.mark.parametrize("shape", [(7,), (4, 3), (4, 3, 2, 2)])
def test_rows_hold_a_channel_or_all(shape):
    weights = torch.arange(float(np.prod(shape))).view(shape)
    assert torch.equal(as_rows(weights, per_channel=False), weights.reshape(1, -1))
    if len(shape) > 1:
        rows = as_rows(weights, per_channel=True)
        assert all(torch.equal(row, w.flatten()) for row, w in zip(rows, weights, strict=True))


@given(
    st.one_of(
        npst.arrays(np.float64, npst.array_shapes(max_side=4), elements=st.integers(-15, 15)),
        st.tuples(generators(), st.integers(1, 60)).map(lambda p: p[0].standard_normal(p[1])),
    )
)
@pytest.mark.parametrize(
    ("bits", "oracle"), [(1, released.binary), (2, released.ternary), (4, released.four_bit)]
)
def test_released_projections_equal_the_reference(bits, oracle, weights):
    projected = RELEASED[bits](torch.from_numpy(weights)).numpy()
    # Integers over max|w|/15 meet the thresholds exactly in one arithmetic and not in the other.
    near = np.abs(np.abs(weights) * 15 / max(np.abs(weights).max(), 1) % 2 - 1) < 1e-9
    if bits < 4 or not near.any():
        np.testing.assert_allclose(projected, oracle(weights), rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("bits", [2, 4])
def test_released_projections_are_told_from_exact_ones(bits):
    weights = np.random.default_rng(2).standard_normal(300)
    projected = RELEASED[bits](torch.from_numpy(weights)).numpy()
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        np.testing.assert_allclose(projected, reference_projection(weights, bits).values, rtol=1e-3)


def test_a_large_layer_starts_near_its_exact_step_without_sorting_all_breakpoints():
    rows = torch.randn(1, 140_000, generator=torch.Generator().manual_seed(0)) ** 3
    assert rows.numel() * 127 > weights.LARGEST_SWEEP
    exact, start = (find(rows, 8) for find in (weights.fitted_step, weights.starting_step))
    assert not torch.equal(exact, start)
    errors = [(rows - weights.on_levels(rows, step, 8)).square().sum() for step in (exact, start)]
    assert errors[0] <= errors[1] <= 1.01 * errors[0]  # 1.003 measured; the error is nearly flat
