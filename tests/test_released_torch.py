"""The released losses and step in torch: NumPy's values, true gradients, the defects kept."""

from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import nn

from faqd_math.released import losses as released
from faqd_train import load_config, quantize_model
from faqd_train.benchmark.released_step import released_step
from faqd_train.benchmark.training_step import make_networks
from faqd_train.losses import released as released_losses


def generator():
    return torch.Generator().manual_seed(0)


def maps(*teacher_size, dtype=torch.float64):
    """Give positive maps: no pixel is dead."""
    g = generator()
    student = 0.1 + torch.rand(2, 3, 4, 3, generator=g, dtype=dtype)
    teacher = 0.1 + torch.rand(2, 5, *(teacher_size or (4, 3)), generator=g, dtype=dtype)
    return student, teacher


RELEASED = {
    "fa": (released_losses.fa_loss, lambda s, t, order: released.fa_loss(s, t, order)),
    "ffa": (
        partial(released_losses.ffa_loss, k=5),
        lambda s, t, order: released.ffa_loss(
            s, t, released_losses.fixed_probes(12, 5).double().numpy(), order
        ),
    ),
}


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", RELEASED)
@pytest.mark.parametrize("teacher_size", [(4, 3), (2, 5)])
def test_released_losses_are_those_of_the_numpy_oracle(name, order, teacher_size):
    student, teacher = maps(*teacher_size)
    ours, oracle = RELEASED[name]
    value = ours(student, teacher, order=order).item()
    # Sums of some hundred terms of order 1 in float64.
    assert value == pytest.approx(oracle(student.numpy(), teacher.numpy(), order), rel=1e-13)


def test_a_norm_without_its_offset_is_seen(monkeypatch):
    monkeypatch.setattr(released_losses, "NORM_OFFSET", 0.0)
    student, teacher = maps()
    value = released_losses.fa_loss(student, teacher, order=2).item()
    assert value != pytest.approx(released.fa_loss(student.numpy(), teacher.numpy(), 2), rel=1e-7)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", RELEASED)
def test_gradients_of_the_released_losses_are_finite_differences(name, order):
    student, teacher = maps()
    loss = partial(RELEASED[name][0], teacher=teacher, order=order)
    # Central differences at 1e-6 err by 1e-12 (truncation) and 1e-10 (rounding) times a few.
    assert torch.autograd.gradcheck(loss, student.requires_grad_(), atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("whose", [0, 1])
def test_a_dead_pixel_makes_released_ffa_nan_and_leaves_released_fa_finite(whose):
    pair = maps()
    pair[whose][0, :, 1, 2] = 0
    student = pair[0].requires_grad_()
    for loss, is_finite in ((released_losses.ffa_loss, False), (released_losses.fa_loss, True)):
        value = loss(student, pair[1], order=2)
        (slope,) = torch.autograd.grad(value, student)
        assert bool(value.isfinite()) == bool(slope.isfinite().all()) == is_finite


@pytest.mark.parametrize("name", RELEASED)
def test_released_losses_keep_the_dtype(name):
    assert RELEASED[name][0](*maps(dtype=torch.float32)).dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [({"order": 3}, r"order is 3; accepted are 1, 2"), ({"k": 0}, r"k is 0; an integer of at")],
)
def test_released_ffa_refuses_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        released_losses.ffa_loss(*maps(), **options)


def test_a_released_step_computes_with_projected_weights_and_updates_float_ones():
    config = load_config("cifar10", ["labels=label-free", "model.depth=8"])
    inputs = torch.randn(4, 3, 32, 32, generator=generator())
    networks = make_networks(config, 8, inputs)
    student = deepcopy(networks.student)
    quantize_model(student, 32, 4, activation_rule="released")
    levels = {}

    def count(name, layer, *_):
        levels[name] = len(layer.weight.unique())

    layers = {n: m for n, m in student.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    before = {name: layer.weight.detach().clone() for name, layer in layers.items()}
    for name, layer in layers.items():
        layer.register_forward_hook(partial(count, name))
    options = {"weight_bits": 4, "objective": config.objective, "optimizer": config.optimizer}
    with released_step(student, networks.adapters, networks.teacher, inputs, **options) as step:
        first, second = step().item(), step().item()
    assert first > 0
    assert second != first
    convolutions = {name for name, layer in layers.items() if isinstance(layer, nn.Conv2d)}
    assert all((levels[name] <= 15) == (name in convolutions) for name in layers)
    for name, layer in layers.items():
        moved = (layer.weight - before[name]).abs().max()
        assert len(layer.weight.unique()) > 100
        assert 0 < moved < before[name].abs().max() / 2  # from the float weights, not projected
