"""State dicts of other programs: read without running code, and recognised where they are known."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from faqd_train.config.networks import ResNetConfig

State = dict[str, Tensor]

SUFFIXES = (".pth", ".pt", ".th", ".tar", ".ckpt", ".bin", ".safetensors")
NESTED = ("state_dict", "model_state_dict", "model", "net", "network")
PREFIXES = ("module.", "model.", "net.", "_orig_mod.")
RENAMED = {".shortcut.": ".downsample.", "linear.": "fc."}
_SHOWN = 3  # names in a message


def read_state(path: Path) -> State:
    """Read a file of weights by name, without running code that it may hold.

    The names are freed from what wrappers put before them (``module.``, ``_orig_mod.`` …), and the
    dictionary from those that a training puts around it (``state_dict``, ``model`` …).

    Raises
    ------
    ValueError
        If the file is of another kind, damaged, or holds more than tensors by name.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(
            f"{path} ends in {path.suffix or 'nothing'!r}; weights in a file that ends in "
            f"{', '.join(SUFFIXES)} are accepted: rename it, or save a state dict."
        )
    state = _unnested(_read(path))
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(
            f"{path} holds no state dict; tensors by name are accepted, alone or under "
            f"{', '.join(NESTED)}: save network.state_dict()."
        )
    while prefix := next((p for p in PREFIXES if all(key.startswith(p) for key in state)), None):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load(path.read_bytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the pickle protocol: what is not read is refused
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, SafetensorError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise ValueError(
            f"{path} cannot be read as weights ({reason[:120]}); a state dict is accepted, and no "
            f"pickled network, as that would run code: save network.state_dict()."
        ) from None


def _unnested(content: Any) -> Any:
    while isinstance(content, Mapping):
        inner = next((content[name] for name in NESTED if _is_state(content.get(name))), None)
        if inner is None:
            return dict(content)
        content = inner
    return None


def _is_state(value: Any) -> bool:
    return isinstance(value, Mapping) and len(value) > 0


@dataclass(frozen=True)
class Recognised:
    """Weights of a built-in network."""

    model: ResNetConfig
    classes: int
    state: State  # by the names of the built-in network


def recognise(state: State) -> Recognised | None:
    """Return which built-in network the weights are of, or None.

    Known are the post-activation ResNets for CIFAR of widths 16, 32 and 64, with shortcuts by 1×1
    convolution (``downsample`` or ``shortcut``) or by zero padding, and a last layer ``fc`` or
    ``linear``.

    Examples
    --------
    >>> from faqd_train.networks.cifar_resnet import cifar_resnet
    >>> network = cifar_resnet(20, generator=torch.Generator().manual_seed(0))
    >>> recognise(network.state_dict()).model.depth
    20
    """
    renamed = {}
    for key, value in state.items():
        for old, new in RENAMED.items():
            key = key.replace(old, new) if key.startswith(old) or old.startswith(".") else key
        renamed[key] = value
    first, last = renamed.get("conv1.weight"), renamed.get("fc.weight")
    found = [re.match(r"layer(\d)\.(\d+)\.conv1\.weight", key) for key in renamed]
    blocks = [match.group(1) for match in found if match]
    counts = {blocks.count(stage) for stage in "123"}
    if (
        first is None
        or last is None
        or (first.shape[0], last.shape[1:]) != (16, (64,))
        or len(counts) != 1
        or set(blocks) != set("123")
    ):
        return None
    projects = any(".downsample." in key for key in renamed)
    model = ResNetConfig(depth=6 * counts.pop() + 2, shortcut="conv" if projects else "pad")
    return Recognised(model, len(last), renamed)


def take_in(network: nn.Module, state: State, origin: Path) -> None:
    """Load weights into a network, or say which of them do not fit (ValueError)."""
    own = network.state_dict()
    # Older files do not count batches, which nothing reads.
    state = {key: own[key] for key in own if key.endswith("num_batches_tracked")} | state
    wrong = {
        "missing": [key for key in own if key not in state],
        "left over": [key for key in state if key not in own],
        "of another shape": [
            f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
            for key in own
            if key in state and own[key].shape != state[key].shape
        ],
    }
    complaints = [f"{what}: {_some(keys)}" for what, keys in wrong.items() if keys]
    if complaints:
        raise ValueError(
            f"the weights in {origin} do not fit the network ({'; '.join(complaints)}); all of its "
            f"weights, and no others, are accepted: name another network."
        )
    network.load_state_dict(state)


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(keys[:_SHOWN]) + more
