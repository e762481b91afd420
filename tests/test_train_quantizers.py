"""Quantizers in torch against the NumPy reference, and what training does through them (§6)."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrize

from faqd_math.quantize import activation_derivatives
from faqd_math.quantize import project_weights as reference_projection
from faqd_math.quantize import quantize_activations as reference_activations
from faqd_math.testing import generators
from faqd_train import calibrate, quantize_model
from faqd_train.quantization.activations import (
    QuantizedActivation,
    activation_steps,
    best_step,
    quantize_activations,
)
from faqd_train.quantization.model import weight_levels
from faqd_train.quantization.weights import project_weights


def small_network(generator):
    with torch.device("meta"):  # draws nothing from the global generator
        network = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(6, 6, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(216, 10),
        )
    network.to_empty(device="cpu")
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1, generator=generator)
    return network


@given(generators(), st.sampled_from([1, 2, 3, 4]))
def test_float32_projection_is_as_near_as_the_reference(rng, bits):
    weights = rng.standard_normal((4, 3, 3)).astype(np.float32)
    projected = project_weights(torch.from_numpy(weights), bits).numpy()
    error = np.linalg.norm(weights.astype(float) - projected)
    best = np.linalg.norm(weights - reference_projection(weights, bits).values)
    # Rounding each level moves the error by at most u·‖w‖, u = 2⁻²⁴.
    assert error <= best + 2**-23 * np.linalg.norm(weights)


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_projection_of_zero_weights_is_zero(bits):
    assert torch.equal(project_weights(torch.zeros(3, 2), bits), torch.zeros(3, 2))


def test_a_scale_over_all_entries_is_caught_by_the_reference():
    """The released ternary scale averages over the dropped weights as well."""
    weights = np.random.default_rng(0).standard_normal(100)
    kept = np.abs(weights) > 0.7 * np.abs(weights).mean()
    released = np.sign(weights) * kept * (np.abs(weights) * kept).mean()
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(released, reference_projection(weights, 2).values, rtol=1e-2)


@given(
    generators(),
    st.integers(1, 8),
    # Powers of two keep the grid exact, so that values on a level are judged too.
    st.sampled_from([0.125, 0.25, 0.5, 1.0]),
)
def test_activations_and_surrogate_derivatives_equal_the_reference(rng, bits, step):
    top = 2**bits - 1
    x = np.concatenate(
        [step * rng.uniform(-1, top + 2, 40), step * rng.integers(-1, top + 2, 40), [0.0]]
    )
    inputs = torch.from_numpy(x).requires_grad_()
    alpha = torch.tensor(step, dtype=torch.float64, requires_grad=True)
    outer = rng.standard_normal(len(x))
    outputs = quantize_activations(inputs, alpha, bits)
    torch.autograd.backward(outputs, torch.from_numpy(outer))

    d_x, d_step = activation_derivatives(x, bits, step)
    np.testing.assert_array_equal(outputs.detach().numpy(), reference_activations(x, bits, step))
    np.testing.assert_array_equal(inputs.grad.numpy(), outer * d_x)
    # A sum of 81 terms of size up to 255, in another order.
    np.testing.assert_allclose(alpha.grad.item(), (outer * d_step).sum(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_derivative_vanishes_exactly_where_the_forward_pass_clips(dtype, bits):
    """At a step that is no power of two, x/α and the last level are rounded."""
    generator = torch.Generator().manual_seed(bits)
    top, step = 2**bits - 1, torch.tensor(0.1, dtype=dtype)
    near = top * step * (1 + 4 * torch.finfo(dtype).eps * torch.linspace(-1, 1, 41).to(dtype))
    far = torch.randn(200, generator=generator).to(dtype) * top * step
    x = torch.cat([near, far, torch.zeros(1, dtype=dtype)]).requires_grad_()
    quantize_activations(x, step, bits).sum().backward()
    codes = torch.ceil(x.detach() / step)
    assert torch.equal(x.grad, ((codes > 0) & (codes <= top)).to(dtype))


def test_the_input_may_be_overwritten_after_the_pass():
    """As nn.ReLU allows: a residual sum may be taken in place."""
    values = torch.tensor([-1.0, 0.3, 5.0], requires_grad=True)
    inputs = values * 1
    outputs = quantize_activations(inputs, torch.tensor(0.5), 2)
    inputs += 7
    outputs.sum().backward()
    assert values.grad.tolist() == [0, 1, 0]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_maps_keep_their_layout_both_ways(layout):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 4, 5, generator=generator).contiguous(memory_format=layout)
    x.requires_grad_()
    y = quantize_activations(x, torch.tensor(0.3), 2)
    y.backward(torch.ones_like(x))
    assert y.is_contiguous(memory_format=layout)
    assert x.grad.is_contiguous(memory_format=layout)
    np.testing.assert_array_equal(x.grad, (x > 0) & (x / 0.3 <= 3))


def test_the_module_learns_the_logarithm_of_its_step():
    module = QuantizedActivation(bits=2)
    inputs = torch.tensor([0.5, 7.0], dtype=torch.float32)
    module(inputs).sum().backward()
    # d/d(log α) = α·d/dα; the derivatives in α are 2 inside and 3 beyond.
    assert module.log_step.grad.item() == pytest.approx(5 * module.step.item(), rel=1e-6)


def test_gradient_of_projected_weights_passes_to_the_float_weights():
    generator = torch.Generator().manual_seed(0)
    layer = quantize_model(small_network(generator), 2, 32)[5]
    inputs = torch.randn(1, 216, generator=generator)
    layer(inputs).sum().backward()
    shadow = layer.parametrizations.weight.original
    assert torch.equal(shadow.grad, inputs.expand(10, 216))
    assert not torch.equal(shadow, layer.weight)


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_distinct_levels_never_exceed_the_level_set(bits):
    network = quantize_model(small_network(torch.Generator().manual_seed(0)), bits, 4)
    counts = weight_levels(network)
    assert set(counts) == {"0", "2", "5"}
    for count in counts.values():
        assert 2 <= count["distinct"] <= count["allowed"]
    assert counts["5"]["distinct"] == counts["5"]["allowed"] == (2 if bits == 1 else 2**bits - 1)


def test_float_weights_in_a_quantized_layer_would_show_in_the_count():
    network = quantize_model(small_network(torch.Generator().manual_seed(0)), 2, 32)
    network[5].parametrizations.weight[0].forward = lambda weights: weights
    count = weight_levels(network)["5"]
    assert count["distinct"] > count["allowed"]


def test_layers_of_keep_float_stay_float():
    network = quantize_model(
        small_network(torch.Generator().manual_seed(0)), 1, 2, keep_float=["0", "5"]
    )
    assert set(weight_levels(network)) == {"2"}
    assert set(activation_steps(network)) == {"1", "3"}


def test_bits_of_32_leave_the_network_as_it_is():
    network = quantize_model(small_network(torch.Generator().manual_seed(0)), 32, 32)
    assert not any(parametrize.is_parametrized(module) for module in network.modules())
    assert isinstance(network[1], nn.ReLU)


def test_best_step_has_the_least_error_of_a_fine_search():
    x = torch.randn(500, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rectified = x.clamp(min=0).numpy()

    def error(step):
        return ((reference_activations(rectified, 3, step) - rectified) ** 2).sum()

    finest = min(error(step) for step in np.linspace(0.01, 1.0, 2_000))
    # 64 candidates are at most 1/64 of the largest apart: the error there is within 5 %.
    assert error(best_step(x, 3).item()) <= 1.05 * finest


def test_calibration_sets_steps_in_running_order():
    """The second step is fitted to what the first, already calibrated, lets through."""
    generator = torch.Generator().manual_seed(2)
    network = quantize_model(small_network(generator), 4, 2)
    images = 5 * torch.randn(16, 1, 8, 8, generator=generator)
    calibrate(network, images)
    seen = network[2](network[1](network[0](images)))
    steps = activation_steps(network)
    assert steps["3"] == pytest.approx(best_step(seen, 2).item(), rel=1e-6)
    assert steps["1"] != pytest.approx(1.0, rel=0.01)  # 3/(2² − 1), where it started


@pytest.mark.parametrize(
    ("bits", "message"),
    [
        ((9, 4), r"weight_bits is 9; 1 to 8, or 32 for float, is accepted"),
        ((4, 0), r"activation_bits is 0; 1 to 8, or 32 for float, is accepted"),
    ],
)
def test_unknown_bits_are_refused(bits, message):
    with pytest.raises(ValueError, match=message):
        quantize_model(small_network(torch.Generator().manual_seed(0)), *bits)


def test_quantizing_twice_is_refused():
    network = quantize_model(small_network(torch.Generator().manual_seed(0)), 4, 4)
    with pytest.raises(ValueError, match="model is quantized already; a float network"):
        quantize_model(network, 4, 4)


def test_unknown_keep_float_is_refused():
    with pytest.raises(ValueError, match="module 'clasifier' is not in the network"):
        quantize_model(
            small_network(torch.Generator().manual_seed(0)), 4, 4, keep_float=["clasifier"]
        )
