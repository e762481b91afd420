"""Read the outputs of named modules while a network runs; the network stays as it is.

A module behind a tap may overwrite the tapped map, as nn.ReLU(inplace=True) does. What is read is
the map as the tapped module gave it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from faqd_train._validation import find_module

NOT_READ = torch.empty(0)  # of a tap that this pass has not come to


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
        If the network has no module of a name; the message names the nearest. In a forward pass, if
        it overwrites a map that it left alone in its first pass of that mode.

    Notes
    -----
    The first pass in training mode, and the first in evaluation mode, copies the maps and sees by
    their version counters which of them are overwritten. From then on those alone are copied.

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
    given: dict[str, tuple[Tensor, int]] = {}  # in this pass: the module's tensor, its version
    overwritten: dict[tuple[str, bool], bool] = {}  # known of a tap, by the network's mode

    def reader(name: str) -> Any:
        def read(_module: nn.Module, _inputs: Any, output: Any) -> None:
            maps[name] = output
            if not isinstance(output, Tensor):
                return
            if torch.compiler.is_compiling():  # no versions, and a needless copy is not made
                maps[name] = output.clone()
                return
            if output.is_inference():  # has no version
                maps[name] = output.clone()
                return
            given[name] = output, output._version
            if overwritten.get((name, network.training), True):
                maps[name] = output.clone()

        return read

    def start(*_arguments: Any) -> None:
        """Let the dictionary have the same keys before each pass: torch.compile looks at them."""
        maps.update(dict.fromkeys(names, NOT_READ))

    def compare(*_arguments: Any) -> None:
        for name in names:
            if maps.get(name) is NOT_READ:
                del maps[name]
        for name, (output, version) in given.items():
            key, changed = (name, network.training), output._version != version
            if changed and not overwritten.get(key, True):
                raise ValueError(
                    f"the map at tap {name!r} is overwritten by a later module, as it was not in "
                    f"the first pass; a network that always or never does so is accepted: give "
                    f"the module behind the tap inplace=False."
                )
            overwritten[key] = changed
            if not changed:
                maps[name] = output
        given.clear()

    handles = [
        module.register_forward_hook(reader(name))
        for name, module in zip(names, modules, strict=True)
    ]
    handles.append(network.register_forward_pre_hook(start))
    handles.append(network.register_forward_hook(compare))
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()
