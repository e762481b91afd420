"""Read the outputs of named modules while a network runs; the network stays as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn


@contextmanager
def tapped(network: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Give a dictionary that every forward pass refills with the named modules' outputs.

    Parameters
    ----------
    network : nn.Module
        Any network; it is not changed, and its hooks are gone afterwards.
    names : strings
        Module names as in ``network.named_modules()``.

    Raises
    ------
    ValueError
        If the network has no module of a name; the nearest names are told.

    Examples
    --------
    >>> import torch
    >>> network = nn.Sequential(nn.Flatten(), nn.ReLU())
    >>> with tapped(network, ["1"]) as maps:
    ...     _ = network(torch.tensor([[-1.0, 2.0]]))
    >>> maps["1"]
    tensor([[0., 2.]])
    """
    modules = [find_module(network, name) for name in names]
    maps: dict[str, Tensor] = {}

    def reader(name: str) -> Any:
        def read(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            maps[name] = output

        return read

    handles = [
        module.register_forward_hook(reader(name))
        for name, module in zip(names, modules, strict=True)
    ]
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


def find_module(network: nn.Module, name: str) -> nn.Module:
    """Return the module of that name, or refuse with the nearest names (ValueError)."""
    modules = dict(network.named_modules())
    del modules[""]  # the network itself
    if name not in modules:
        nearest = get_close_matches(name, modules, n=3) or list(dict(network.named_children()))
        raise ValueError(
            f"module {name!r} is not in the network; names from named_modules() are accepted, "
            f"the nearest being {', '.join(nearest)}."
        )
    return modules[name]
