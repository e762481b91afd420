"""One training step as FAQD's released code makes it: the baseline, not for training.

Own re-implementation. Float weights are swapped with projected ones around forward and backward,
and back for the optimizer's step; the last layer stays float. FA is of order 2, each tap's the
norm over the whole batch, by N×N matrices. Data and logging are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from faqd_train.config.schema import ObjectiveConfig, OptimizerConfig
from faqd_train.losses import released as released_losses
from faqd_train.networks.adapters import adapt
from faqd_train.networks.taps import tapped
from faqd_train.quantization.released import RELEASED
from faqd_train.training.objective import MapPairs, weighted_sum


@contextmanager
def released_step(
    student: nn.Module,
    adapters: nn.ModuleList,
    teacher: nn.Module,
    inputs: Tensor,
    *,
    weight_bits: int,
    objective: ObjectiveConfig,
    optimizer: OptimizerConfig,
) -> Iterator[Callable[[], Tensor]]:
    """Give a function that makes one step on a batch and returns its loss.

    Parameters
    ----------
    student : nn.Module
        Of float weights; its activations may be `ReleasedActivation`.
    adapters, teacher : nn.ModuleList, nn.Module
        As in `faqd_train.training.loop.fit`.
    inputs : Tensor (B, C, H, W)
        The batch of every step.
    weight_bits : {1, 2, 4}
        Of all convolutions.
    objective : ObjectiveConfig
        Its taps and the weights of kd and fa are used.
    optimizer : OptimizerConfig
        Of SGD.
    """
    weights = [m.weight for m in student.modules() if isinstance(m, nn.Conv2d)]
    project = RELEASED[weight_bits]
    sgd = torch.optim.SGD(
        [*student.parameters(), *adapters.parameters()],
        lr=optimizer.lr,
        momentum=optimizer.momentum,
        nesterov=optimizer.nesterov,
        weight_decay=optimizer.weight_decay,
    )
    student.train()
    with tapped(student, objective.taps) as maps, tapped(teacher.eval(), objective.taps) as targets:

        def step() -> Tensor:
            with torch.no_grad():
                teacher_logits = teacher(inputs)
                kept = [weight.clone() for weight in weights]
                for weight in weights:
                    weight.copy_(project(weight))
            logits = student(inputs)
            adapted = adapt(maps, adapters, objective.taps)
            pairs = [(adapted[tap], targets[tap]) for tap in objective.taps]
            kd, fa = released_terms(logits, teacher_logits, pairs)
            loss = weighted_sum({"kd": kd, "fa": torch.stack(fa).sum()}, objective)
            sgd.zero_grad()
            torch.autograd.backward(loss)
            with torch.no_grad():
                for weight, original in zip(weights, kept, strict=True):
                    weight.copy_(original)
            sgd.step()
            return loss

        yield step


def released_terms(
    logits: Tensor, teacher_logits: Tensor, pairs: MapPairs
) -> tuple[Tensor, list[Tensor]]:
    """Return the mean squared error of the logits, and FA of order 2 of each pair of maps."""
    fa = [released_losses.fa_loss(ours, theirs, order=2) for ours, theirs in pairs]
    return functional.mse_loss(logits, teacher_logits), fa
