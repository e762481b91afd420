"""Quantizers in torch against the NumPy reference, and what training does through them (§6)."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks import images, small_resnet

from faqd_math.quantize import activation_derivatives
from faqd_math.quantize import quantize_activations as reference_activations
from faqd_math.testing import generators
from faqd_train import calibrate, quantize_model
from faqd_train.quantization.activations import (
    QuantizedActivation,
    activation_steps,
    best_step,
    quantize_activations,
)


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
    """At a step that is not a power of two, x/α and the last level are rounded."""
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
    layer = quantize_model(small_resnet(), 2, 32).classifier
    inputs = torch.randn(1, 8, generator=torch.Generator().manual_seed(0))
    layer(inputs).sum().backward()
    shadow = layer.parametrizations.weight.original
    assert torch.equal(shadow.grad, inputs.expand(10, 8))
    assert not torch.equal(shadow, layer.weight)


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
    network, seen = quantize_model(small_resnet(), 4, 2), []
    calibrate(network, images(2, count=16))
    first, second, *_ = activation_steps(network)
    network.get_submodule(second).register_forward_pre_hook(lambda _, inputs: seen.append(*inputs))
    network(images(2, count=16))
    steps = activation_steps(network)
    assert steps[second] == pytest.approx(best_step(seen[0], 2).item(), rel=1e-6)
    assert steps[first] != pytest.approx(1.0, rel=0.01)  # 3/(2² − 1), where it started
