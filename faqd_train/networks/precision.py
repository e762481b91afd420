"""Where and in which precision networks run."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn


def find_device(name: str) -> torch.device:
    """Return a device by its name, or refuse one that is not there (ValueError).

    Examples
    --------
    >>> find_device("cpu")
    device(type='cpu')
    """
    try:
        device = torch.device(name)
        if device.type == "meta":
            raise RuntimeError("a device without data trains nothing")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):  # torch asserts that it was built with CUDA
        raise ValueError(
            f"device is {name!r}, which torch does not find on this machine; cpu, or with a GPU "
            f"cuda, is accepted: choose one that is there."
        ) from None
    return device


def running_in(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Run what autocast deems safe in bfloat16, or everything as it is ("float32")."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def memory_format(channels_last: bool) -> torch.memory_format:
    """Return how image batches and the weights of convolutions lie in memory."""
    return torch.channels_last if channels_last else torch.contiguous_format


def set_memory_format(network: nn.Module, layout: torch.memory_format) -> None:
    """Let a network's 4-d tensors lie that way."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=layout)


def at_least_float32(values: Tensor) -> Tensor:
    """Return values in float32 or their own wider type."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
