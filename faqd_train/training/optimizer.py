"""The optimizer and its learning rate by epoch (§7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

from faqd_train.config.schema import OptimizerConfig
from faqd_train.quantization.activations import QuantizedActivation


def make_optimizer(
    student: nn.Module,
    adapters: nn.ModuleList | None,
    config: OptimizerConfig,
    *,
    fused: bool = False,
) -> torch.optim.SGD:
    """Return SGD over the student, its adapters and its activation steps, one group for each.

    The steps have their own rate, ``step_factor`` times the others', and no weight decay: decay
    would draw log α to 0, that is α to 1. A ``fused`` step can read its rates from the device.
    """
    steps = [m.log_step for m in student.modules() if isinstance(m, QuantizedActivation)]
    ids = {id(step) for step in steps}
    groups: list[dict[str, Any]] = [
        {"params": [p for p in student.parameters() if id(p) not in ids]},
        {"params": list(adapters.parameters()) if adapters else []},
        {"params": steps, "lr": config.lr * config.step_factor, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
        fused=fused or None,
    )


def make_schedule(optimizer: torch.optim.Optimizer, config: OptimizerConfig) -> LRScheduler:
    """Return a linear rise over the warm-up epochs, then cosine annealing to 0, by epoch.

    Examples
    --------
    >>> config = OptimizerConfig(epochs=4, warmup_epochs=2, lr=0.3)
    >>> optimizer = make_optimizer(nn.Linear(1, 1), None, config)
    >>> schedule = make_schedule(optimizer, config)
    >>> for _ in range(4):
    ...     print(round(optimizer.param_groups[0]["lr"], 3))
    ...     optimizer.step()
    ...     schedule.step()
    0.1
    0.2
    0.3
    0.15
    """
    warmup = config.warmup_epochs
    cosine = CosineAnnealingLR(optimizer, config.epochs - warmup)
    if warmup == 0:
        return cosine
    rise = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return SequentialLR(optimizer, [rise, cosine], milestones=[warmup])


def gradient_norm(optimizer: torch.optim.Optimizer) -> Tensor:
    """Return the Euclidean norm of all the gradients that an optimizer is about to use."""
    parameters = (p for group in optimizer.param_groups for p in group["params"])
    return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


@contextmanager
def rates_on_device(optimizer: torch.optim.Optimizer, rates: Sequence[Tensor]) -> Iterator[None]:
    """Let a fused optimizer read each group's learning rate from a tensor () on the device.

    A CUDA graph would hold a number as a constant.
    """
    numbers = [group["lr"] for group in optimizer.param_groups]
    _set_rates(optimizer, rates)
    try:
        yield
    finally:
        _set_rates(optimizer, numbers)


def _set_rates(optimizer: torch.optim.Optimizer, rates: Sequence[Any]) -> None:
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
