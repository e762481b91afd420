"""A function of tensors as a CUDA graph: captured once, then replayed without launching kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from faqd_train.training.distributed import process_count

WARM_UP = 3  # calls before the capture, in which memory, algorithms and compiled code are found

Result = Any  # tensors, in whatever nesting
_new_stream: Callable[[], torch.cuda.Stream] = torch.cuda.Stream


def check_graphs(wanted: bool, device: torch.device) -> None:
    """Refuse CUDA graphs on another device, and among several processes (ValueError)."""
    if wanted and (device.type != "cuda" or process_count() > 1):
        raise ValueError(
            f"run.cuda_graph is true on {device.type} with {process_count()} processes; one "
            f"process on a CUDA device is accepted: set run.cuda_graph=false, or start one there."
        )


class GraphedFunction:
    """A function on a stream of its own, from its fourth call on as a replayed CUDA graph.

    Parameters
    ----------
    function : callable
        Takes tensors, works in place or returns tensors. Its shapes are static and it does not
        wait for the device.
    generators : generators of the device
        From which the function draws; each replay draws on.

    Notes
    -----
    The inputs of a call are copied, so they may be overwritten after it. What it returns is
    overwritten by the next call. Later work on the caller's stream waits for the function only
    after `join`. Inputs of other shapes than those captured run as plain calls.
    """

    def __init__(
        self, function: Callable[..., Result], generators: Sequence[torch.Generator] = ()
    ) -> None:
        self._function, self._generators = function, generators
        self._stream = _new_stream()
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor] = []
        self._result: Result = None

    def __call__(self, *inputs: Tensor) -> Result:
        """Run the function on copies of the inputs."""
        self._calls += 1
        if self._graph is None and self._calls > WARM_UP:
            self._capture(inputs)
        if self._graph is None or not self._fits(inputs):
            return self._run(inputs)
        self.join()  # the last replay has read its inputs
        torch._foreach_copy_(self._inputs, list(inputs))
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self._graph.replay()
        return self._result

    def join(self) -> None:
        """Let the current stream wait until the last call is done."""
        torch.cuda.current_stream().wait_stream(self._stream)

    def _run(self, inputs: Sequence[Tensor]) -> Result:
        with self._on_own_stream(), _tuned():
            result = self._function(*inputs)
        self.join()
        return result

    def _capture(self, inputs: Sequence[Tensor]) -> None:
        self._inputs = [tensor.clone() for tensor in inputs]
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.graph(graph, stream=self._stream), _tuned():
            self._result = self._function(*self._inputs)
        self._graph = graph

    def _fits(self, inputs: Sequence[Tensor]) -> bool:
        return [tensor.shape for tensor in inputs] == [tensor.shape for tensor in self._inputs]

    def _on_own_stream(self) -> AbstractContextManager[object]:
        self._stream.wait_stream(torch.cuda.current_stream())
        return torch.cuda.stream(self._stream)


def _tuned() -> AbstractContextManager[object]:
    """Let cuDNN time its algorithms for each shape, and take the fastest."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=True)
