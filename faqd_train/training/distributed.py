"""The same training on several processes: each takes its part of every batch.

Started by ``torchrun``, the processes hold the same networks, generators and data. They draw the
same order, the same augmentation and the same probes, and each keeps its own part; gradients are
averaged by DistributedDataParallel. Batch norm takes its statistics over the whole batch, so that
one process on the same batch computes the same, up to the order of its sums.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import FunctionCtx
from torch.nn.parallel import DistributedDataParallel

AGREE_EVERY = 10  # steps


@contextmanager
def processes(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that torchrun started, if it did; give this one's device.

    CPU processes talk by gloo. CUDA ones talk by NCCL, and each has a GPU of its own.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or distributed.is_initialized():
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        distributed.destroy_process_group()


def process_count() -> int:
    """Return how many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def is_main() -> bool:
    """Whether this process is the one that writes."""
    if distributed.is_initialized():
        return distributed.get_rank() == 0
    return int(os.environ.get("RANK", "0")) == 0


def wait_for_all() -> None:
    """Return once every process came here."""
    if process_count() > 1:
        distributed.barrier()


def part_of(batch: Tensor) -> Tensor:
    """Return this process's rows of a batch, all of them if it is alone."""
    if process_count() == 1:
        return batch
    return torch.tensor_split(batch, process_count())[distributed.get_rank()]


def check_parts(images: int, batch_size: int) -> None:
    """Refuse batches of which a process would get nothing (ValueError)."""
    least = min(images, images % batch_size or batch_size)
    if least < process_count():
        raise ValueError(
            f"a batch has {least} images for {process_count()} processes; one each at least is "
            f"accepted: change optimizer.batch_size or the number of processes."
        )


def weight(part: int, batch: int) -> float:
    """Return the factor on a part's mean loss by which the processes' average is the batch's."""
    return part * process_count() / batch


def agree(signal: str | None, step: int, device: torch.device) -> str | None:
    """Return the signal to stop for after so many steps: the same one step in all processes.

    A process alone stops at once. Several agree from time to time, since each agreement waits for
    all of them and for the device.
    """
    if process_count() == 1:
        return signal
    if step % AGREE_EVERY:
        return None
    received = total(torch.tensor(float(signal is not None), device=device))
    return (signal or "a signal to another process") if received else None


def total(value: Tensor) -> Tensor:
    """Return the sum over the processes; waits for all."""
    value = value.clone()
    if process_count() > 1:
        distributed.all_reduce(value)
    return value


def on_main(value: Tensor) -> Tensor:
    """Return the sum over the processes on the main one, and 0 on the others."""
    value = total(value)
    return value if is_main() else torch.zeros_like(value)


def parallel(network: nn.Module, *, all_used: bool) -> nn.Module:
    """Return the network, averaging its gradients over the processes if there are several.

    ``all_used`` says that its outputs depend, differentiably, on all parameters.
    """
    if process_count() == 1:
        return network
    return DistributedDataParallel(network, find_unused_parameters=not all_used)


def synchronise_norms(network: nn.Module) -> None:
    """Let every batch norm see the whole batch, if there are several processes."""
    if process_count() == 1:
        return
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(module, name, _GlobalBatchNorm2d(child))


class _Total(torch.autograd.Function):
    """The sum over the processes; each of them uses it, so the gradient is a sum as well."""

    @staticmethod
    def forward(_ctx: FunctionCtx, value: Tensor) -> Tensor:
        return total(value)

    @staticmethod
    def backward(_ctx: FunctionCtx, gradient: Any) -> Any:
        return total(gradient)


_total: Callable[[Tensor], Tensor] = _Total.apply


class _GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the batches of all processes. torch's own does without a CPU."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        with torch.device("meta"):
            super().__init__(norm.num_features, norm.eps, norm.momentum)
        # The parameters themselves: an optimizer may hold them already.
        self._parameters, self._buffers = norm._parameters, norm._buffers
        self.train(norm.training)

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalise maps (B, C, H, W), in training by the statistics of all processes."""
        if not self.training:
            return super().forward(inputs)
        maps = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
        count = total(maps.new_tensor(float(maps.numel() // maps.shape[1])))
        mean = _total(maps.sum(dim=(0, 2, 3))) / count
        centred = maps - mean[:, None, None]
        variance = _total(centred.square().sum(dim=(0, 2, 3))) / count
        self._track(mean.detach(), variance.detach() * count / (count - 1))
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(inputs.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, of which the variance is the unbiased one."""
        if (
            self.momentum is not None
            and self.running_mean is not None
            and self.running_var is not None
            and self.num_batches_tracked is not None
        ):
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance, self.momentum)
