"""Bytes that a call holds at its peak beyond what was there before."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class _Held:
    """What is held now and was held at most, in bytes."""

    def __init__(self) -> None:
        self.now = self.peak = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def add(self, storage: torch.UntypedStorage) -> None:
        """Count a storage, once, until it is freed."""
        size = storage.nbytes()
        if size and storage not in self._known:
            self._known.add(storage)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self.now -= size


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Count the memory that operations return, forward and backward.

    What an operation allocates and frees inside itself stays unseen, as does other threads' work.
    """

    held: _Held

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {_address(tensor) for tensor in _tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            if _address(tensor) not in given:  # else a view, or written in place
                self.held.add(tensor.untyped_storage())
        return result


def peak_bytes(call: Callable[[], object], device: torch.device) -> int:
    """Run a call once; return the bytes held at its peak beyond those before, its result's too.

    On CUDA the allocator reports it, at a second call. Elsewhere the tensors that operations return
    are counted.

    Examples
    --------
    Two arrays of 4,000 bytes at once, of three:

    >>> ones = torch.ones(1000)
    >>> peak_bytes(lambda: (ones + 1).add(1).add(1), torch.device("cpu"))
    8000
    """
    if device.type == "cuda":
        call()  # libraries allocate workspaces at their first call, and keep them
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    watch = _Watch()  # type: ignore[no-untyped-call]  # as above
    watch.held = _Held()
    with watch:
        call()
    return watch.held.peak


def _tensors(value: Any) -> Iterator[Tensor]:
    """Give the tensors in nested tuples, lists and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
