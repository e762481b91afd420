"""A teacher's copy that only answers: norms folded, channels last, in low precision if that holds.

In evaluation mode a batch norm is an affine map of each channel. Where it alone reads the output
of a convolution, weights and bias of that convolution can hold it, and the pass over the map goes.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import fuse_conv_bn_weights

from faqd_train.networks.precision import running_in, set_memory_format
from faqd_train.networks.taps import tapped

NORMS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
}
# What a network may raise that computes with the stand-ins for tensors that a trace passes in.
UNTRACEABLE = (TypeError, ValueError, RuntimeError, AttributeError, AssertionError, LookupError)
# Far above rounding through hundreds of float32 layers, far below any error of the folding.
ROUNDING = 1e-3
HOOKS = ("_forward_hooks", "_forward_pre_hooks")


@dataclass(frozen=True)
class InferenceCopy:
    """A copy of a network in evaluation mode, and how near its answers are."""

    network: nn.Module  # its modules have the names that they have in the original
    precision: str  # what to run it in: see `running_in`
    folded: tuple[str, ...]  # norms that are nn.Identity now
    errors: dict[str, float]  # relative, of the logits ("") and of each tap, in that precision
    refused: dict[str, float]  # the same in bfloat16, where that was wanted and is too coarse


@torch.no_grad()
def inference_copy(
    network: nn.Module,
    inputs: Tensor,
    taps: Sequence[str] = (),
    *,
    precision: str = "float32",
    tolerance: float | None = None,
) -> InferenceCopy:
    """Copy a network for fast answers: norms folded into convolutions, channels last.

    Parameters
    ----------
    network : nn.Module
        Not changed. One that `torch.fx` cannot trace keeps its norms.
    inputs : Tensor (B, C, H, W)
        A calibration batch as the network takes it, on its device.
    taps : module names
        Whose maps the copy has to give as well, by `tapped`.
    precision : {"float32", "bfloat16"}
        What is wanted.
    tolerance : float, optional
        Largest relative error ‖ŷ − y‖/‖y‖ over the calibration batch that bfloat16 may have
        against the plain network, for the logits and for the map of each tap; beyond it, float32
        is kept. None: whatever it is.

    Returns
    -------
    InferenceCopy
        Its errors are measured, whatever the tolerance.

    Examples
    --------
    >>> from faqd_train.networks.resnet import PreActResNetConfig, preact_resnet
    >>> generator = torch.Generator().manual_seed(0)
    >>> config, images = PreActResNetConfig(depth=8), torch.randn(4, 3, 8, 8, generator=generator)
    >>> network = preact_resnet(config, in_channels=3, classes=10, generator=generator)
    >>> answers = inference_copy(network, images, precision="bfloat16", tolerance=1e-4)
    >>> answers.precision, answers.folded[0], answers.network.stem[1]
    ('float32', 'stem.1', Identity())
    """
    plain = copy.deepcopy(network).eval()
    expected = _answers(plain, inputs, taps, "float32")
    candidate = copy.deepcopy(plain)
    folded = fold_norms(candidate, keep=taps)
    set_memory_format(candidate, torch.channels_last)
    errors = _errors(candidate, inputs, taps, "float32", expected)
    if not max(errors.values()) <= ROUNDING:  # a tapped container, say, ends in a convolution
        candidate, folded = plain, ()
        set_memory_format(candidate, torch.channels_last)
        errors = _errors(candidate, inputs, taps, "float32", expected)
    if precision == "float32":
        return InferenceCopy(candidate, precision, folded, errors, {})
    coarse = _errors(candidate, inputs, taps, precision, expected)
    if tolerance is not None and not max(coarse.values()) <= tolerance:
        return InferenceCopy(candidate, "float32", folded, errors, coarse)
    return InferenceCopy(candidate, precision, folded, coarse, {})


@torch.no_grad()
def fold_norms(network: nn.Module, keep: Sequence[str] = ()) -> tuple[str, ...]:
    """Fold batch norms into the convolutions before them, in place; return the norms' names.

    Modules keep their names: a folded norm becomes nn.Identity. The network has to be in
    evaluation mode. Convolutions named in ``keep``, whose output has to stay, are left alone.

    Examples
    --------
    >>> network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()).eval()
    >>> fold_norms(network)
    ('1',)
    """
    pairs = [pair for pair in _foldable(network) if pair[0] not in keep]
    for convolution, norm in pairs:
        _fold(network.get_submodule(convolution), network.get_submodule(norm))
        parent, _, child = norm.rpartition(".")
        setattr(network.get_submodule(parent), child, nn.Identity())
    return tuple(norm for _, norm in pairs)


def _fold(convolution: Any, norm: Any) -> None:
    """Let a convolution compute what the norm behind it gives, to rounding."""
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,  # None, as the bias, if not affine
        norm.bias,
    )


def _foldable(network: nn.Module) -> list[tuple[str, str]]:
    """Name each convolution and norm where the norm, and nothing else, reads the convolution."""
    try:
        nodes = fx.Tracer().trace(network).nodes
    except UNTRACEABLE:
        return []
    modules = dict(network.named_modules(remove_duplicate=False))
    calls = Counter(id(modules[str(n.target)]) for n in nodes if n.op == "call_module")
    owners = Counter(id(p) for _, p in network.named_parameters(remove_duplicate=False))
    read = {str(node.target) for node in nodes if node.op == "get_attr"}

    def alone(name: str) -> bool:
        """Whether a module is called once, watched by nobody and shares no parameter."""
        module = modules[name]
        return (
            calls[id(module)] == 1
            and not any(getattr(module, hooks) for hooks in HOOKS)
            and all(owners[id(p)] == 1 for p in module.parameters())
            and not any(path.startswith(f"{name}.") for path in read)
        )

    pairs = []
    for node in nodes:
        before = node.args[0] if node.op == "call_module" and node.args else None
        if (
            not isinstance(before, fx.Node)
            or before.op != "call_module"
            or list(before.users) != [node]
        ):
            continue
        first, second = str(before.target), str(node.target)
        norm = modules[second]
        if (
            NORMS.get(type(modules[first])) is type(norm)
            and norm.running_var is not None  # or it reads the batch's statistics
            and not norm.training
            and alone(first)
            and alone(second)
        ):
            pairs.append((first, second))
    return pairs


def _answers(
    network: nn.Module, inputs: Tensor, taps: Sequence[str], precision: str
) -> dict[str, Tensor]:
    """Return the logits, by the name "", and the maps by tap."""
    with tapped(network, taps) as maps, running_in(precision, inputs.device):
        logits = network(inputs)
    return {"": logits} | {tap: maps[tap] for tap in taps}


def _errors(
    network: nn.Module,
    inputs: Tensor,
    taps: Sequence[str],
    precision: str,
    expected: dict[str, Tensor],
) -> dict[str, float]:
    """Return ‖ŷ − y‖/‖y‖ by name."""
    tiny = torch.finfo(torch.float64).tiny
    found = _answers(network, inputs, taps, precision)
    return {
        name: float((found[name].double() - y.double()).norm() / y.double().norm().clamp(min=tiny))
        for name, y in expected.items()
    }
