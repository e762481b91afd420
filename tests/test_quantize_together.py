"""A training step's quantizers: weights projected together, and one pass over maps at a time."""

import numpy as np
import pytest
import torch
from networks import images, small_resnet
from torch import nn

from faqd_train import quantize_model
from faqd_train.quantization import weights as quantize_weights
from faqd_train.quantization.activations import quantize_activations
from faqd_train.quantization.model import quantized_layers


def computed_with(network):
    """Return the weights that the layers of a network have in a forward pass."""
    seen = {}

    def read(name):
        def hook(layer, *_passed):
            seen[name] = layer.parametrizations.weight[0].projected

        return hook

    for name, layer, _ in quantized_layers(network):
        layer.register_forward_hook(read(name))
    network(images())
    return seen


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("per_channel", [False, True])
def test_weights_projected_together_equal_each_alone(bits, per_channel):
    network = quantize_model(small_resnet(), bits, 32, per_channel=per_channel)
    together = computed_with(network)
    assert len(together) == 9
    for name, layer, _ in quantized_layers(network):
        alone = layer.weight
        # Two float64 sums, and a rounding to float32.
        torch.testing.assert_close(together[name], alone, rtol=2**-23, atol=0)
        assert (together[name].sign() == alone.sign()).all()


def test_layers_of_one_size_take_one_search(monkeypatch):
    network, searches = quantize_model(small_resnet(), 4, 32), []

    def counting(rows, bits):
        searches.append(rows.shape)
        return fitted_step(rows, bits)

    fitted_step = quantize_weights.fitted_step
    monkeypatch.setattr(quantize_weights, "fitted_step", counting)
    network(images())
    assert searches == [(1, 36), (4, 144), (1, 288), (1, 576), (1, 32), (1, 80)]


def test_weights_that_change_between_passes_are_projected_anew():
    network = quantize_model(small_resnet(), 4, 32)
    before = network(images())
    for _, layer, _ in quantized_layers(network):
        with torch.no_grad():
            layer.parametrizations.weight.original.neg_()
    assert not torch.allclose(network(images()), before)
    for _, layer, quantizer in quantized_layers(network):
        expected = quantize_weights.project_weights(layer.parametrizations.weight.original, 4)
        assert torch.equal(layer.weight, expected)
        assert quantizer.ready is None


def test_a_pass_that_fails_leaves_no_projection_behind():
    network = quantize_model(small_resnet(), 4, 32)
    with pytest.raises(RuntimeError, match="channels"):
        network(torch.zeros(1, 5, 8, 8))
    assert all(quantizer.ready is None for *_, quantizer in quantized_layers(network))


@pytest.mark.parametrize("rule", ["alternating", "released"])
def test_only_exact_weights_are_projected_together(rule):
    network = quantize_model(small_resnet(), 4, 32, projection=rule)
    steps = [dict(quantizer.named_buffers()) for *_, quantizer in quantized_layers(network)]
    network.eval()(images())
    for old, (_, _, quantizer) in zip(steps, quantized_layers(network), strict=True):
        assert all(torch.equal(old[name], step) for name, step in quantizer.named_buffers())


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


def test_a_network_of_one_layer_takes_part_too():
    layer = small_resnet().stem[0]
    network = quantize_model(nn.Sequential(layer), 2, 32)
    assert computed_with(network)["0"].unique().numel() == 3
