"""Let a network take inputs that are normalised otherwise than it was trained with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from faqd_train.data.statistics import Statistics


def accept_normalised_by(network: nn.Module, given: Statistics, own: Statistics) -> None:
    """From now on, undo one normalisation of a network's inputs and apply its own.

    Parameters
    ----------
    network : nn.Module
        Whose forward passes start with the change; nothing else of it does.
    given, own : Statistics
        By which the inputs come normalised, and by which the network wants them.

    Examples
    --------
    >>> network = nn.Identity()
    >>> accept_normalised_by(network, Statistics((0.0,), (1.0,)), Statistics((2.0,), (4.0,)))
    >>> network(torch.full((1, 1, 1, 1), 6.0)).item()
    1.0
    """
    if given == own:
        return
    scale = torch.tensor(given.std) / torch.tensor(own.std)
    shift = (torch.tensor(given.mean) - torch.tensor(own.mean)) / torch.tensor(own.std)
    scale, shift = scale[:, None, None], shift[:, None, None]
    places: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def change(_network: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
        device = inputs[0].device
        if device not in places:  # copied once: a copy at each pass would wait for the device
            places[device] = scale.to(device), shift.to(device)
        factor, offset = places[device]
        return (inputs[0] * factor + offset, *inputs[1:])

    network.register_forward_pre_hook(change)
