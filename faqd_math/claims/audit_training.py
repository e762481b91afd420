"""The audit of FAQD's released training, re-enacted on toys (R2, R3, R7, R8)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from faqd_math._validation import Array
from faqd_math.claims.evidence import Claim, Evidence, Sampling
from faqd_math.claims.subjects import Standalone
from faqd_math.gradients import fa_gradient, ffa_gradient
from faqd_math.losses import fa_loss, ffa_loss
from faqd_math.probes import sample_probes
from faqd_math.released import losses as released
from faqd_math.released.training import (
    QUANTIZED_GROUP,
    Script,
    parameter_groups,
    reseeded_probes,
)

_SHAPE = (16, 8, 8)  # of the toys' feature maps
_PIXELS = 64
_FITTED_PROBES = (5, 15)
# Beyond them nothing changes but that fresh probes go on towards 0.
_ADAM_STEPS, _ADAM_RATE = 400, 0.03
# What is left of the one loss, as a share of the other, where the one is fitted and the other not.
_FITTED = 0.1
_EPOCHS, _STEPS_PER_EPOCH, _IMAGES = 11, 4, 1000
_DESCENT_STEPS, _DESCENT_RATE = 5, 1.0


def _fitted_probes(_: Standalone, sampling: Sampling) -> Evidence:
    """R2: after training by fixed probes, their FFA over FA; and FA by fresh probes over that."""
    shares = []
    for k in _FITTED_PROBES:
        student, teacher = sampling.rng.standard_normal((2, *_SHAPE))
        probes = sample_probes(_PIXELS, k, rng=sampling.rng)
        fixed = _trained(student, teacher, [probes] * _ADAM_STEPS)
        draws = [sample_probes(_PIXELS, k, rng=sampling.rng) for _ in range(_ADAM_STEPS)]
        fresh = _trained(student, teacher, draws)
        left = fa_loss(fixed, teacher)
        shares += [ffa_loss(fixed, teacher, probes) / left, fa_loss(fresh, teacher) / left]
    return Evidence(max(shares), _FITTED, "<=", 0.0)


def _trained(student: Array, teacher: Array, probes: list[Array]) -> Array:
    """Minimise FFA of order 2 over free features by Adam (Kingma & Ba 2015), a step per matrix."""
    first, second = np.zeros_like(student), np.zeros_like(student)
    for i, z in enumerate(probes, start=1):
        gradient = ffa_gradient(student, teacher, z)
        first += 0.1 * (gradient - first)
        second += 0.001 * (gradient**2 - second)
        scale = np.sqrt(second / (1 - 0.999**i)) + 1e-12
        student = student - _ADAM_RATE * first / (1 - 0.9**i) / scale
    return student


def _repeated_orders(_: Standalone, sampling: Sampling) -> Evidence:
    """R3: epochs in an order of data seen before, if the loss reseeds; less those if it does not.

    Both kinds of probes come from the generator that shuffles.
    """
    state = np.random.default_rng(1).bit_generator.state
    repeats = []
    for reseeds in (True, False):
        rng = np.random.default_rng(int(sampling.rng.integers(2**63)))
        orders = set()
        for _epoch in range(_EPOCHS):
            orders.add(rng.permutation(_IMAGES).tobytes())
            for _step in range(_STEPS_PER_EPOCH):
                if reseeds:
                    reseeded_probes(_PIXELS, sampling.k, rng=rng, state=state)
                else:
                    sample_probes(_PIXELS, sampling.k, rng=rng)
        repeats.append(_EPOCHS - len(orders))
    # All but the first epoch, whose order is its own, and the second, which the others repeat.
    return Evidence(float(repeats[0] - repeats[1]), float(_EPOCHS - 2), "=", 0.0)


def _idle_adapters(_: Standalone, sampling: Sampling) -> Evidence:
    """R7: adapter parameters that the full script's optimizer moves and the other's leaves."""
    rng, channels = sampling.rng, _SHAPE[0]
    student = {"conv1.weight": rng.standard_normal((channels, channels))}
    adapters = {
        "stage1.weight": rng.standard_normal((channels, channels)),
        "stage1.bias": rng.standard_normal((channels, 1)),
    }
    inputs, teacher = rng.standard_normal((channels, _PIXELS)), rng.standard_normal(_SHAPE)
    by_weights_only = _descended(student, adapters, inputs, teacher, "weights only")
    by_full = _descended(student, adapters, inputs, teacher, "full")
    idle = [
        np.array_equal(by_weights_only[name], start) and not np.array_equal(by_full[name], start)
        for name, start in adapters.items()
    ]
    return Evidence(float(sum(idle)), float(len(adapters)), "=", 0.0)


def _descended(
    student: Mapping[str, Array],
    adapters: Mapping[str, Array],
    inputs: Array,
    teacher: Array,
    script: Script,
) -> dict[str, Array]:
    """Descend FA with what the script hands to its optimizer; all parameters by name."""
    parameters = {name: start.copy() for name, start in {**student, **adapters}.items()}
    in_adapters = {name: parameters[name] for name in adapters}
    in_student = {name: parameters[name] for name in student}
    groups = parameter_groups(in_student, in_adapters, script=script)
    for _ in range(_DESCENT_STEPS):
        gradients = _gradients(parameters, inputs, teacher)
        for group in groups:
            for name, parameter in group.items():
                parameter -= _DESCENT_RATE * gradients[name]
    return parameters


def _gradients(parameters: Mapping[str, Array], inputs: Array, teacher: Array) -> dict[str, Array]:
    """Gradients of FA behind a 1×1 convolution and an adapter: 1×1 convolution, bias, ReLU."""
    features = parameters["conv1.weight"] @ inputs
    before = parameters["stage1.weight"] @ features + parameters["stage1.bias"]
    upstream = fa_gradient(np.maximum(before, 0).reshape(_SHAPE), teacher).reshape(before.shape)
    flow = upstream * (before > 0)
    return {
        "stage1.weight": flow @ features.T,
        "stage1.bias": flow.sum(axis=1, keepdims=True),
        "conv1.weight": parameters["stage1.weight"].T @ flow @ inputs.T,
    }


def _wrong_group(_: Standalone, sampling: Sampling) -> Evidence:
    """R8: layers quantized that should stay float, or the reverse; less those of CIFAR's group."""
    shapes = {
        "conv1.weight": (8, 3, 7, 7),
        "bn1.weight": (8,),
        "layer1.0.conv1.weight": (8, 8, 3, 3),
        "layer1.0.bn1.weight": (8,),
        "fc.weight": (10, 8),
    }
    drawn = {name: sampling.rng.standard_normal(shape) for name, shape in shapes.items()}
    wrong = {}
    for script, index in QUANTIZED_GROUP.items():
        group = parameter_groups(drawn, {}, script="full")[index]
        layers = drawn | {name: released.ternary(weights) for name, weights in group.items()}
        wrong[script] = sum(
            (len(np.unique(weights)) <= 3) != ("conv" in name) for name, weights in layers.items()
        )
    measured = float(wrong["Tiny ImageNet"] - wrong["CIFAR"])
    return Evidence(measured, float(len(shapes)), "=", 0.0)


TRAINING_AUDIT = (
    Claim("R2", "optimisation", _fitted_probes, on=Standalone),
    Claim("R3", "enumeration", _repeated_orders, on=Standalone),
    Claim("R7", "optimisation", _idle_adapters, on=Standalone),
    Claim("R8", "enumeration", _wrong_group, on=Standalone),
)
