"""The network of a configuration: built, perhaps with a finished run's weights, then quantized."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from faqd_train.config.networks import FactoryConfig, ModelConfig, PreActResNetConfig
from faqd_train.config.quantization import QuantizationConfig
from faqd_train.data import Description
from faqd_train.networks.cifar_resnet import cifar_resnet
from faqd_train.networks.resnet import preact_resnet
from faqd_train.quantization.activations import QuantizedActivation, ReleasedActivation
from faqd_train.quantization.model import quantize_as_configured


def build_network(
    model: ModelConfig,
    quantization: QuantizationConfig,
    shape: Description,
    generator: torch.Generator,
    *,
    initial: nn.Module | None = None,
) -> nn.Module:
    """Build the network that a configuration describes, quantized.

    Parameters
    ----------
    model, quantization : sections of the configuration
        ``model.init`` is not read here: ``initial`` is what lies there.
    shape : Description
        Channels and side of the images, and the number of classes.
    generator : torch.Generator
        Source of the random weights; the global generator is not touched.
    initial : nn.Module, optional
        A network of the same layers, quantized or not, whose float weights and batch norms are
        taken up, for fine-tuning. Its activation steps are taken up where both networks quantize
        by the same bits and rule, and `calibrate` then leaves them; the weights' steps are
        fitted anew.

    Raises
    ------
    ValueError
        If the factory, its network or ``initial`` do not fit.
    """
    if isinstance(model, FactoryConfig):
        network = foreign_network(model.factory, model.options, shape, generator)
    elif isinstance(model, PreActResNetConfig):
        network = preact_resnet(
            model,
            in_channels=shape.channels,
            classes=shape.classes,
            side=shape.side,
            generator=generator,
        )
    else:
        network = cifar_resnet(
            model.depth,
            classes=shape.classes,
            channels=shape.channels,
            shortcut=model.shortcut,
            generator=generator,
        )
    if initial is not None:
        _take_up_weights(network, initial)
    quantize_as_configured(network, quantization)
    if initial is not None:
        _take_up_steps(network, initial)
    return network


def foreign_network(
    factory: str, options: dict[str, Any], shape: Description, generator: torch.Generator
) -> nn.Module:
    """Call somebody's constructor, with its random numbers from a seed that the generator draws.

    Parameters
    ----------
    factory : str
        ``"package.module:function"``. The module is imported, which runs it: name only code
        that you trust.
    options : dict
        Keyword arguments.
    shape : Description
        The network must take such images and return as many logits as there are classes.
    generator : torch.Generator
        While the constructor runs, torch's global CPU generator has a seed from here; then
        it is as before.

    Raises
    ------
    ValueError
        If there is no such function, it does not take the options, or what it returns is not a
        network for these images.

    Examples
    --------
    >>> foreign_network(
    ...     "torch.nn:Conv2d",
    ...     {"in_channels": 3, "out_channels": 1, "kernel_size": 1},
    ...     Description(channels=3, side=8, classes=10),
    ...     torch.Generator().manual_seed(0),
    ... )
    Traceback (most recent call last):
    ...
    ValueError: model.factory 'torch.nn:Conv2d' makes a network that gives shape (1, 1, 8, 8) \
for one image of the data; logits of shape (1, 10) are accepted: set its options accordingly.
    """
    make = _find_factory(factory)
    try:
        inspect.signature(make).bind(**options)
    except TypeError as error:
        raise ValueError(
            f"model.factory {factory!r} cannot be called with model.options {options}: {error}; "
            f"give the arguments that it takes."
        ) from None
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = make(**options)
    if not isinstance(network, nn.Module):
        raise ValueError(
            f"model.factory {factory!r} returns a {type(network).__name__}; an nn.Module is "
            f"accepted: name a function that builds a network."
        )
    _check_logits(network, factory, shape)
    return network


def _find_factory(factory: str) -> Any:
    module, _, function = factory.partition(":")
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"model.factory is {factory!r}, which cannot be imported ({error}); "
            f"'package.module:function' is accepted: name one that is installed or in PYTHONPATH."
        ) from None


@torch.no_grad()
def _check_logits(network: nn.Module, factory: str, shape: Description) -> None:
    images = torch.zeros(1, shape.channels, shape.side, shape.side)
    try:
        logits = network.eval()(images)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"model.factory {factory!r} makes a network that fails on an image of shape "
            f"{tuple(images.shape[1:])} ({reason}); set its options to what the data has."
        ) from None
    network.train()
    given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if given != (1, shape.classes):
        raise ValueError(
            f"model.factory {factory!r} makes a network that gives shape {given} for one image of "
            f"the data; logits of shape {(1, shape.classes)} are accepted: set its options "
            f"accordingly."
        )


def _take_up_weights(network: nn.Module, initial: nn.Module) -> None:
    """Load the float weights and buffers behind a network, quantized or not, into a float one."""
    steps = tuple(f"{name}." for name, module in _activations(initial))
    state = {
        name.replace("parametrizations.weight.original", "weight"): tensor
        for name, tensor in initial.state_dict().items()
        if not name.startswith(steps) and ".parametrizations.weight.0." not in f".{name}"
    }
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).splitlines()[1].split())
        raise ValueError(
            f"model.init names a run whose network has other layers ({reason}); one of the same "
            f"architecture, whatever its bits, is accepted: change model to agree with it."
        ) from None


def _take_up_steps(network: nn.Module, initial: nn.Module) -> None:
    known = dict(_activations(initial))
    for name, module in _activations(network):
        source = known.get(name)
        if type(source) is type(module) and source.bits == module.bits:
            module.load_state_dict(source.state_dict())
            module.calibrated = True


def _activations(
    network: nn.Module,
) -> list[tuple[str, QuantizedActivation | ReleasedActivation]]:
    return [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, QuantizedActivation | ReleasedActivation)
    ]
