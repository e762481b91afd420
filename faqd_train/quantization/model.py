"""Turn a float network into one of few bits, in place."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from torch import nn
from torch.nn.utils import parametrize

from faqd_train._validation import find_module
from faqd_train.config.quantization import (
    FLOAT_BITS,
    RELEASED_BITS,
    ActivationRule,
    Policy,
    Projection,
    QuantizationConfig,
)
from faqd_train.quantization.activations import QuantizedActivation, ReleasedActivation
from faqd_train.quantization.weights import QuantizedWeight, as_rows

MAX_BITS = 8
QUANTIZERS = (QuantizedActivation, ReleasedActivation, QuantizedWeight)


def quantize_model(
    model: nn.Module,
    weight_bits: int,
    activation_bits: int,
    *,
    keep_float: Collection[str] = (),
    first: Policy = "quantized",
    last: Policy = "quantized",
    projection: Projection = "alternating",
    per_channel: bool = False,
    activation_rule: ActivationRule = "learned",
) -> nn.Module:
    """Quantize a network's weights and activations in place (§6).

    Convolution and linear weights become parametrisations that hold the float weights and show
    the projected ones; each ReLU becomes a `QuantizedActivation` with its own step.

    Parameters
    ----------
    model : nn.Module
        A float network whose activations are nn.ReLU modules. A module that is used at several
        places has one step for all of them; calls of ``functional.relu`` stay float.
    weight_bits, activation_bits : int
        1 to 8, or 32 to keep them float.
    keep_float : module names
        Layers whose weights stay float, with all inside them.
    first, last : {"quantized", "float"}
        The weights of the first and the last convolution or linear layer, in order of definition.
        The released code keeps the last one float.
    projection : {"alternating", "exact", "released"}
        How weights are projected: see `QuantizedWeight`.
    per_channel : bool
        One step per output channel.
    activation_rule : {"learned", "released"}
        How activation steps learn: see `QuantizedActivation` and `ReleasedActivation`.

    Returns
    -------
    nn.Module
        The same model. `calibrate` then sets the activation steps.

    Raises
    ------
    ValueError
        If a number of bits is not accepted, the model is quantized already or has nothing to
        quantize, or a name of keep_float is unknown.

    Examples
    --------
    >>> import torch
    >>> from faqd_train.networks.resnet import PreActResNetConfig, preact_resnet
    >>> generator = torch.Generator().manual_seed(0)
    >>> config = PreActResNetConfig()
    >>> model = preact_resnet(config, in_channels=1, classes=10, generator=generator)
    >>> model = quantize_model(model, 1, 4, keep_float=["classifier"])
    >>> len(model.stem[0].weight.unique()), model.stem[2]
    (2, QuantizedActivation(bits=4))
    """
    _check_bits(weight_bits, "weight_bits", released=projection == "released")
    _check_bits(activation_bits, "activation_bits", released=activation_rule == "released")
    if is_quantized(model):
        raise ValueError(
            "model is quantized already; a float network is accepted: quantize it only once."
        )
    if weight_bits != FLOAT_BITS:
        layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        _check_found(layers, "convolution or linear layer", "weight_bits")
        kept = {inner for name in keep_float for inner in find_module(model, name).modules()}
        kept |= {layers[0]} if first == "float" else set()
        kept |= {layers[-1]} if last == "float" else set()
        for layer in layers:
            if layer not in kept:
                quantizer = QuantizedWeight(
                    layer.weight, weight_bits, projection, per_channel=per_channel
                )
                parametrize.register_parametrization(layer, "weight", quantizer)
    if activation_bits != FLOAT_BITS:
        kind = ReleasedActivation if activation_rule == "released" else QuantizedActivation
        relus = [m for m in model.modules() if isinstance(m, nn.ReLU)]
        _check_found(relus, "nn.ReLU", "activation_bits")
        quantized = {
            relu: kind(activation_bits).to(next(model.parameters()).device) for relu in relus
        }
        for module in list(model.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.ReLU):
                    setattr(module, name, quantized[child])
    return model


def quantize_as_configured(model: nn.Module, config: QuantizationConfig) -> nn.Module:
    """Quantize a float network in place as a configuration says: see `quantize_model`."""
    rules = {} if config.weights is None else config.weights.model_dump(exclude={"bits", "blend"})
    if config.activations is not None:
        rules["activation_rule"] = config.activations.rule
    return quantize_model(model, config.weight_bits, config.activation_bits, **rules)


def is_quantized(model: nn.Module) -> bool:
    """Whether any weight or activation of a network is quantized."""
    return any(isinstance(m, QUANTIZERS) for m in model.modules())


def weight_levels(model: nn.Module) -> dict[str, dict[str, int]]:
    """Count each quantized layer's distinct weights, beside the size of its level set.

    Returns
    -------
    dict
        ``{"distinct": …, "allowed": …}`` by module name; with a step for each channel, the most
        that a channel has.
    """
    return {
        name: {
            "distinct": max(
                len(row.unique()) for row in as_rows(layer.weight.detach(), quantizer.per_channel)
            ),
            "allowed": quantizer.levels,
        }
        for name, layer, quantizer in quantized_layers(model)
    }


def quantized_layers(
    model: nn.Module,
) -> Iterator[tuple[str, nn.Conv2d | nn.Linear, QuantizedWeight]]:
    """Yield name, layer and parametrisation of each layer with quantized weights."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and parametrize.is_parametrized(module):
            quantizer = module.get_submodule("parametrizations.weight.0")
            if isinstance(quantizer, QuantizedWeight):
                yield name, module, quantizer


def _check_bits(bits: int, name: str, *, released: bool) -> None:
    accepted = RELEASED_BITS if released else tuple(range(1, MAX_BITS + 1))
    if bits not in (*accepted, FLOAT_BITS):
        words = "1, 2 or 4 by the released rule" if released else f"1 to {MAX_BITS}"
        raise ValueError(
            f"{name} is {bits!r}; {words}, or {FLOAT_BITS} for float, is accepted: "
            f"choose one of them."
        )


def _check_found(modules: Sequence[nn.Module], what: str, bits: str) -> None:
    if not modules:
        raise ValueError(
            f"model has no {what}, which {bits} asks to quantize; a network with such modules is "
            f"accepted: build it of them or set {bits} to {FLOAT_BITS}."
        )
