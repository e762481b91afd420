"""What stands in for a GPU in tests on a CPU: its refusals, and its CUDA graphs."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from faqd_train.losses import affinity
from faqd_train.runs import open_run
from faqd_train.training import loop, teacher, update
from faqd_train.training.graphs import WARM_UP

aten = torch.ops.aten
# Their results, or the shapes of these, are known to the host only once the device is done.
WAITING = {
    aten._local_scalar_dense,
    aten.equal,
    aten.is_nonzero,
    aten.item,
    aten.masked_select,
    aten.nonzero,
    aten.unique_dim,
    aten._unique2,
}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._unsafe_index}


class NoWaiting(TorchDispatchMode):
    """Refuses what makes the host wait for the device, or copies from one to the other."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs, packet = kwargs or {}, operation.overloadpacket
        assert packet not in WAITING, operation
        assert packet is not aten.lift_fresh, "a tensor is made of numbers of the host"
        if packet in INDEXING:
            masks = [index for index in args[1] if index is not None and index.dtype == torch.bool]
            assert not masks, f"{operation} by a mask"
        if packet is aten._to_copy:
            assert kwargs.get("device") in (None, args[0].device), "a copy between devices"
        if packet is aten.copy_:
            assert args[0].device == args[1].device, "a copy between devices"
        return operation(*args, **kwargs)


class PlainGraph:
    """Does with its inputs what a `GraphedFunction` does, and runs the function on them."""

    def __init__(self, function, generators=()):
        del generators
        self.function, self.calls, self.inputs, self.replays = function, 0, None, 0

    def __call__(self, *inputs):
        self.calls += 1
        if self.calls <= WARM_UP:
            return self.function(*inputs)
        if self.inputs is None:
            self.inputs = [tensor.clone() for tensor in inputs]
        if [t.shape for t in inputs] != [t.shape for t in self.inputs]:
            return self.function(*inputs)
        torch._foreach_copy_(self.inputs, list(inputs))
        self.replays += 1
        with NoWaiting():
            return self.function(*self.inputs)

    def join(self):
        """There is nothing to wait for."""


@pytest.fixture
def plain_graphs(monkeypatch):
    """Let run.cuda_graph work on a CPU; return what was made in place of graphs."""
    made = []

    def plain_graph(*arguments):
        made.append(PlainGraph(*arguments))
        return made[-1]

    for module in (update, teacher):
        monkeypatch.setattr(module, "GraphedFunction", plain_graph)
    for module in (loop, teacher, open_run):
        monkeypatch.setattr(module, "check_graphs", lambda *_: None)
    return made


@pytest.fixture
def static_losses(monkeypatch):
    """Compute FA and FFA as on a GPU."""
    monkeypatch.setattr(affinity, "is_static", lambda _device: True)
