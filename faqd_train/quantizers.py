"""Turn a float network into one of few bits, in place."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch
from torch import nn
from torch.nn.utils import parametrize

from faqd_train.config import FLOAT_BITS
from faqd_train.quantize_activations import QuantizedActivation
from faqd_train.quantize_weights import QuantizedWeight
from faqd_train.taps import find_module

MAX_BITS = 8


def quantize_model(
    model: nn.Module,
    weight_bits: int,
    activation_bits: int,
    *,
    keep_float: Collection[str] = (),
) -> nn.Module:
    """Quantize a network's weights and activations in place (§6).

    Convolution and linear weights become parametrisations that hold the float weights and show
    the projected ones; each ReLU becomes a `QuantizedActivation` with a step of its own.

    Parameters
    ----------
    model : nn.Module
        A float network whose activations are nn.ReLU modules, each used once a pass.
    weight_bits, activation_bits : int
        1 to 8, or 32 to keep them float.
    keep_float : module names
        Layers whose weights stay float, with all inside them; the released code keeps the
        classifier.

    Returns
    -------
    nn.Module
        The same model. `calibrate` then sets the activation steps.

    Raises
    ------
    ValueError
        If a number of bits is not accepted, the model is quantized already, or a name of
        keep_float is unknown.

    Examples
    --------
    >>> from faqd_train.models import ModelConfig, preact_resnet
    >>> generator = torch.Generator().manual_seed(0)
    >>> model = preact_resnet(ModelConfig(), in_channels=1, classes=10, generator=generator)
    >>> model = quantize_model(model, 1, 4, keep_float=["classifier"])
    >>> len(model.stem[0].weight.unique()), model.stem[2]
    (2, QuantizedActivation(bits=4))
    """
    _check_bits(weight_bits, "weight_bits")
    _check_bits(activation_bits, "activation_bits")
    kept = {id(inner) for name in keep_float for inner in find_module(model, name).modules()}
    if any(isinstance(m, QuantizedActivation | QuantizedWeight) for m in model.modules()):
        raise ValueError(
            "model is quantized already; a float network is accepted: quantize it only once."
        )
    if weight_bits != FLOAT_BITS:
        for module in list(model.modules()):
            if isinstance(module, nn.Conv2d | nn.Linear) and id(module) not in kept:
                parametrize.register_parametrization(module, "weight", QuantizedWeight(weight_bits))
    if activation_bits != FLOAT_BITS:
        for module in list(model.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.ReLU):
                    setattr(module, name, QuantizedActivation(activation_bits))
    return model


def weight_levels(model: nn.Module) -> dict[str, dict[str, int]]:
    """Count each quantized layer's distinct weights, beside the size of its level set.

    Returns
    -------
    dict
        ``{"distinct": …, "allowed": …}`` by module name.
    """
    return {
        name: {"distinct": len(torch.unique(layer.weight.detach())), "allowed": allowed}
        for name, layer, allowed in _quantized_layers(model)
    }


def _quantized_layers(model: nn.Module) -> Iterator[tuple[str, nn.Conv2d | nn.Linear, int]]:
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and parametrize.is_parametrized(module):
            projection = module.get_submodule("parametrizations.weight.0")
            if isinstance(projection, QuantizedWeight):
                yield name, module, 2 if projection.bits == 1 else 2**projection.bits - 1


def _check_bits(bits: int, name: str) -> None:
    if bits not in (*range(1, MAX_BITS + 1), FLOAT_BITS):
        raise ValueError(
            f"{name} is {bits!r}; 1 to {MAX_BITS}, or {FLOAT_BITS} for float, is accepted: "
            f"choose one of them."
        )
