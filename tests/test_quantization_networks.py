"""Quantized networks: level sets, evaluation, state, policies, and the released code's defects."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks import images, small_resnet
from stand_ins import NoWaiting
from torch import nn

from faqd_math.quantize import project_weights as reference_projection
from faqd_math.quantize import quantize_activations as reference_activations
from faqd_math.released.losses import activation_step_gradient
from faqd_math.testing import generators
from faqd_train import calibrate, quantize_model
from faqd_train.config.schema import OptimizerConfig
from faqd_train.networks.adapters import make_adapters
from faqd_train.quantization.activations import ReleasedActivation, activation_steps
from faqd_train.quantization.model import quantized_layers, weight_levels
from faqd_train.quantization.together import AlternatingProjections
from faqd_train.quantization.weights import blend_shadow_weights
from faqd_train.training.optimizer import make_optimizer

RULES = [
    *[("exact", channel, bits) for channel in (False, True) for bits in (1, 2, 3, 4, 8)],
    *[("alternating", channel, bits) for channel in (False, True) for bits in (1, 2, 3, 4, 8)],
    *[("released", False, bits) for bits in (1, 2, 4)],
]


def quantized(projection="exact", per_channel=False, bits=2, dtype=torch.float32, **options):
    options = {"projection": projection, "per_channel": per_channel, **options}
    return quantize_model(small_resnet(dtype=dtype), bits, 32, **options)


def shadow(layer):
    return layer.parametrizations.weight.original


def trained_a_little(network, steps=3):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for step in range(steps):
        optimizer.zero_grad()
        network(images(step).to(next(network.parameters()).dtype)).square().mean().backward()
        optimizer.step()
    return network


@pytest.mark.parametrize(("projection", "per_channel", "bits"), RULES)
def test_levels_never_exceed_the_set_before_and_after_training(projection, per_channel, bits):
    network = quantized(projection, per_channel, bits)
    for trained in (network, trained_a_little(network), network.eval()):
        levels = weight_levels(trained)
        assert len(levels) == 9  # stem, six convolutions and a shortcut, classifier
        for count in levels.values():
            assert 2 <= count["distinct"] <= count["allowed"] == (2 if bits == 1 else 2**bits - 1)


def test_per_channel_weights_have_more_levels_than_one_step_allows():
    """A count over whole layers would notice that their channels differ."""
    for _, layer, quantizer in quantized_layers(quantized("exact", per_channel=True, bits=2)):
        assert len(layer.weight.unique()) > quantizer.levels


def test_float_weights_in_a_quantized_layer_would_show_in_the_count():
    network = quantized(bits=2)
    network.classifier.parametrizations.weight[0].forward = lambda weights: weights
    count = weight_levels(network)["classifier"]
    assert count["distinct"] > count["allowed"]


def test_bits_of_32_leave_the_network_as_it_is():
    assert str(quantize_model(small_resnet(), 32, 32)) == str(small_resnet())


@pytest.mark.parametrize(("projection", "per_channel", "bits"), RULES)
def test_evaluation_computes_with_the_quantized_weights_only(projection, per_channel, bits):
    """The floats may move within their cells: what the network computes stays."""
    network = trained_a_little(quantized(projection, per_channel, bits, torch.float64)).eval()
    inputs = images(9, dtype=torch.float64)
    expected = network(inputs)
    for _, layer, _ in quantized_layers(network):
        with torch.no_grad():
            move_within_the_cell(shadow(layer), layer.weight, per_channel)
    torch.testing.assert_close(network(inputs), expected, rtol=1e-9, atol=1e-12)
    with torch.no_grad():
        shadow(layer).neg_()  # out of the cells: this has to show
    assert not torch.allclose(network(inputs), expected, rtol=1e-2)


def move_within_the_cell(floats, levels, per_channel):
    """Let two weights of each level exchange equal amounts, and so little that no level changes.

    That is orthogonal to the levels. The released rules read mean and maximum too: the mean
    stays, and the largest weight is left out.
    """
    pairs = zip(floats, levels, strict=True) if per_channel else [(floats, levels)]
    rows = [(f.view(-1), q.reshape(-1)) for f, q in pairs]
    for row, q in rows:
        for level in q.unique():
            members = (q == level).nonzero().flatten()
            inner = members[row[members].abs() < row.abs().max()]
            if level != 0 and len(inner) >= 2:
                order = row[inner].argsort()
                low, high = inner[order[0]], inner[order[-1]]
                amount = (row[high] - row[low]) / 4  # inwards, so that both stay in the cell
                row[low] += amount
                row[high] -= amount


@pytest.mark.parametrize(("projection", "per_channel", "bits"), RULES)
def test_a_training_step_does_not_wait_for_the_device(projection, per_channel, bits):
    network = quantized(projection, per_channel, bits)
    with NoWaiting():
        network(images()).sum().backward()
        blend_shadow_weights(network, 0.5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_projections_taken_together_are_those_of_each_layer_alone(bits, per_channel, layout):
    together, alone = (
        quantized("alternating", per_channel, bits, last="float").to(memory_format=layout)
        for _ in range(2)
    )
    project, generator = AlternatingProjections(together), torch.Generator().manual_seed(0)
    for _ in range(3):  # from the steps that the iterations before have left
        for pair in zip(together.parameters(), alone.parameters(), strict=True):
            moves = 0.03 * torch.randn(pair[0].shape, generator=generator)
            with torch.no_grad():
                for weights in pair:
                    weights.add_(moves)
        project()
        layers = zip(quantized_layers(together), quantized_layers(alone), strict=True)
        for (_, layer, quantizer), (_, other, expected) in layers:
            levels, floats = layer.weight, other.weight
            # Float64 sums in another order.
            torch.testing.assert_close(levels, floats, rtol=1e-6, atol=0)
            torch.testing.assert_close(quantizer.step, expected.step, rtol=1e-12, atol=0)
            assert levels.is_contiguous(memory_format=layout)
            assert len(levels.unique()) > 1


@pytest.mark.parametrize("per_channel", [False, True])
def test_alternating_weights_are_as_near_as_exact_ones_while_training(per_channel):
    network = trained_a_little(quantized("alternating", per_channel, 3), steps=8)
    axis = 0 if per_channel else None
    for _, layer, _ in quantized_layers(network):
        floats = shadow(layer).detach().double().numpy()
        error = np.linalg.norm(floats - layer.weight.detach().double().numpy())
        exact = reference_projection(floats, 3, channel_axis=axis).values
        # Lloyd iterations may end in a local minimum; here 1.0 to 1.03 times the global one.
        assert error <= 1.06 * np.linalg.norm(floats - exact)


def test_the_alternating_step_is_kept_in_the_state_and_evaluation_leaves_it():
    network = trained_a_little(quantized("alternating", bits=4))
    state = copy.deepcopy(network.state_dict())
    assert sum(name.endswith("parametrizations.weight.0.step") for name in state) == 9
    network.eval()(images())
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())
    again = quantized("alternating", bits=4)
    again.load_state_dict(state)
    assert torch.equal(again.eval()(images()), network(images()))
    trained_a_little(again.train(), 1)
    assert not torch.equal(
        again.stem[0].parametrizations.weight[0].step,
        state["stem.0.parametrizations.weight.0.step"],
    )


@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 1.0])
def test_blended_weights_start_the_step_between_floats_and_levels(beta):
    network = quantize_model(small_resnet(dtype=torch.float64).stem, 2, 32)
    floats = [shadow(layer).detach().clone() for _, layer, _ in quantized_layers(network)]
    network(images(dtype=torch.float64)).sum().backward()
    blend_shadow_weights(network, beta)
    for before, (_, layer, _) in zip(floats, quantized_layers(network), strict=True):
        levels = reference_projection(before.numpy(), 2).values
        expected = (1 - beta) * before.numpy() + beta * levels
        # Two sums of three roundings each, of numbers below 10.
        np.testing.assert_allclose(shadow(layer).detach().numpy(), expected, rtol=0, atol=1e-14)


def test_a_blended_step_is_that_of_bcgd():
    """By w ← (1 − β)w + βq − lr·∂loss/∂q, written out for one layer."""
    network = quantize_model(nn.Sequential(small_resnet(dtype=torch.float64).stem[0]), 1, 32)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    w, q = shadow(network[0]).detach().clone(), network[0].weight.detach().clone()
    network(images(dtype=torch.float64)).square().sum().backward()
    gradient = shadow(network[0]).grad.clone()
    blend_shadow_weights(network, 0.25)
    optimizer.step()
    torch.testing.assert_close(shadow(network[0]), 0.75 * w + 0.25 * q - 0.5 * gradient)


@pytest.mark.parametrize(
    ("policy", "floats"),
    [
        ({}, set()),
        ({"first": "float"}, {"stem.0"}),
        ({"last": "float"}, {"classifier"}),
        ({"first": "float", "last": "float"}, {"stem.0", "classifier"}),
        (
            {"first": "float", "keep_float": ["stage2.blocks"]},
            {"stem.0", "stage2.blocks.0.branch.0", "stage2.blocks.0.branch.3"},
        ),
    ],
)
def test_first_last_and_named_layers_stay_float(policy, floats):
    network = quantized(bits=2, **policy)
    every = {
        name for name, m in small_resnet().named_modules() if isinstance(m, nn.Conv2d | nn.Linear)
    }
    assert set(weight_levels(network)) == every - floats
    for name in floats:
        assert len(network.get_submodule(name).weight.unique()) > 3


def test_convolutions_are_quantized_and_norms_are_not():
    """R8: the released script quantizes norms and classifier instead of the convolutions."""
    network = trained_a_little(quantized(bits=2, last="float"))
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            assert len(module.weight.unique()) <= 3, name
        if isinstance(module, nn.BatchNorm2d):
            assert len(module.weight.unique()) == module.num_features, name


@pytest.mark.parametrize("activation_bits", [32, 4])
def test_every_adapter_is_in_the_optimizer_once(activation_bits):
    """R7: the released weights-only scripts leave the adapters out."""
    student = quantize_model(small_resnet(), 2, activation_bits)
    adapters = make_adapters(
        student, small_resnet(1), images(), ["stage1", "stage3"], torch.Generator().manual_seed(0)
    )
    optimizer = make_optimizer(student, adapters, OptimizerConfig())
    trained = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert len(trained) == len(set(trained))
    assert {id(p) for p in adapters.parameters()} <= set(trained)
    before = [p.detach().clone() for p in adapters.parameters()]
    sum(
        adapter(images().expand(-1, w, -1, -1)).sum()
        for adapter, w in zip(adapters, (4, 8), strict=True)
    ).backward()
    optimizer.step()
    for old, new in zip(before, adapters.parameters(), strict=True):
        assert not torch.equal(old, new)


@given(generators(), st.sampled_from([1, 2, 4]), st.sampled_from([1e-3, 1.0, 1e3]))
def test_released_activations_learn_as_the_reference(rng, bits, scale):
    module = ReleasedActivation(bits).double()
    x, upstream = rng.normal(0, 2, 60), scale * rng.standard_normal(60)
    outputs = module(torch.from_numpy(x))
    outputs.backward(torch.from_numpy(upstream))
    step = module.step.item()
    np.testing.assert_allclose(outputs.detach().numpy(), reference_activations(x, bits, step))
    expected = activation_step_gradient(x, bits, step, upstream)
    # Sums of 60 terms in another order.
    assert module.step.grad.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("given_step", "used"), [(-3.0, 1e-3), (0.7, 0.7), (9.0, 5.0)])
def test_released_steps_are_clamped_to_their_range(given_step, used):
    module = ReleasedActivation(2)
    torch.nn.init.constant_(module.step, given_step)
    assert module(torch.tensor([used / 2])).item() == pytest.approx(used)
    assert module.step.item() == pytest.approx(used)


def test_released_activations_start_from_their_table_and_calibration_leaves_them():
    network = quantize_model(small_resnet(), 32, 2, activation_rule="released")
    calibrate(network, images(count=20))
    steps = activation_steps(network)
    assert len(steps) == 7
    assert list(steps.values()) == pytest.approx([0.6511] * 7)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_activations_take_no_more_levels_than_their_bits_allow(bits):
    network = quantize_model(small_resnet(), 32, bits)
    calibrate(network, images(count=20))
    seen = []
    for module in network.modules():
        if type(module).__name__ == "QuantizedActivation":
            module.register_forward_hook(lambda _m, _i, output: seen.append(len(output.unique())))
    network(images(1, count=20))
    assert len(seen) == 7
    assert all(2 <= distinct <= 2**bits for distinct in seen)


@pytest.mark.parametrize(
    ("network", "bits", "options", "message"),
    [
        ("resnet", (3, 32), {"projection": "released"}, r"weight_bits is 3; 1, 2 or 4 by the rel"),
        ("resnet", (32, 8), {"activation_rule": "released"}, "activation_bits is 8; 1, 2 or 4 by"),
        ("resnet", (9, 4), {}, r"weight_bits is 9; 1 to 8, or 32 for float, is accepted"),
        ("resnet", (4, 0), {}, r"activation_bits is 0; 1 to 8, or 32 for float, is accepted"),
        ("resnet", (4, 4), {"keep_float": ["clasifier"]}, "module 'clasifier' is not in the netw"),
        ("quantized", (4, 4), {}, "model is quantized already; a float network"),
        ("norm", (2, 32), {}, "model has no convolution or linear layer, which weight_bits asks"),
        ("conv", (32, 4), {}, r"model has no nn.ReLU, which activation_bits asks to quantize"),
    ],
)
def test_what_cannot_be_quantized_is_refused(network, bits, options, message):
    networks = {
        "resnet": small_resnet(),
        "quantized": quantized(),
        "norm": nn.Sequential(nn.BatchNorm2d(1)),
        "conv": nn.Sequential(small_resnet().stem[0]),
    }
    with pytest.raises(ValueError, match=message):
        quantize_model(networks[network], *bits, **options)
