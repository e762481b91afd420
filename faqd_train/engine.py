"""The training loop, to read from top to bottom. Every kind of run passes through it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from faqd_train.adapters import adapt
from faqd_train.config import Config, ObjectiveConfig, OptimizerConfig
from faqd_train.data import fingerprint
from faqd_train.objective import objective_terms, weighted_sum
from faqd_train.quantize_activations import QuantizedActivation
from faqd_train.streams import Streams
from faqd_train.taps import tapped

Prepare = Callable[[Tensor, torch.Generator | None], Tensor]


@dataclass(frozen=True)
class Epoch:
    """What one pass over the images gave; means over its images."""

    epoch: int
    epochs: int
    lr: float
    loss: float
    terms: dict[str, float]  # unweighted: kd, fa, label
    order_sha256: str  # of the order in which the images came
    validation_accuracy: float | None
    seconds: float


class TrainingDiverged(RuntimeError):
    """Logits or loss are no longer finite."""


def fit(
    student: nn.Module,
    images: Tensor,
    config: Config,
    *,
    streams: Streams,
    prepare: Prepare,
    teacher: nn.Module | None = None,
    adapters: nn.ModuleList | None = None,
    labels: Tensor | None = None,
    validate: Callable[[nn.Module], float] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Minimise the objective of §7 over a network and its adapters, in place.

    Parameters
    ----------
    student : nn.Module
        Trained; a teacher in the making where labels are the only term.
    images : Tensor (N, C, H, W)
        What ``prepare`` takes.
    config : Config
        Its objective and optimizer.
    streams : Streams
        The random streams for data order, augmentation and probes.
    prepare : callable
        Makes a batch of images a network's input; the generator is for augmentation.
    teacher : nn.Module, optional
        Needed for the terms kd and fa; put in evaluation mode, never trained.
    adapters : nn.ModuleList, optional
        Needed for fa: one a tap, trained with the student.
    labels : Tensor (N,), int64, optional
        Needed if, and accepted only if, the label weight is positive.
    validate : callable, optional
        Gives an accuracy to report after each epoch; nothing is chosen by it.
    on_epoch : callable, optional
        Called with each epoch's record.

    Returns
    -------
    list of Epoch

    Raises
    ------
    ValueError
        If what the objective needs is missing, or more is given.
    TrainingDiverged
        If logits or loss are no longer finite.
    """
    objective = config.objective
    check_teacher(teacher, objective)
    _check_needed("adapters", adapters, objective.fa, "objective.fa")
    _check_needed("labels", labels, objective.label, "objective.label")
    taps = objective.taps if objective.fa > 0 else ()
    optimizer = make_optimizer(student, adapters, config.optimizer)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.optimizer.epochs)
    reading_teacher = (
        tapped(teacher.eval(), taps) if teacher is not None else nullcontext(dict[str, Tensor]())
    )
    history = []
    with tapped(student, taps) as student_maps, reading_teacher as teacher_maps:
        for number in range(1, config.optimizer.epochs + 1):
            start = time.perf_counter()
            student.train()
            order = torch.randperm(len(images), generator=streams.order)
            sums: dict[str, Tensor] = {}
            for batch in torch.split(order, config.optimizer.batch_size):
                inputs = prepare(images[batch], streams.augment)
                with torch.no_grad():
                    teacher_logits = None if teacher is None else teacher(inputs)
                logits = student(inputs)
                _stop_unless_finite(logits, "a logit of the student", number)
                adapted = adapt(student_maps, adapters, taps)
                terms = objective_terms(
                    logits,
                    config=objective,
                    teacher_logits=teacher_logits,
                    map_pairs=[(adapted[tap], teacher_maps[tap]) for tap in taps],
                    labels=None if labels is None else labels[batch],
                    probes=streams.probes,
                )
                loss = weighted_sum(terms, objective)
                _stop_unless_finite(loss, "the loss", number)
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                for name, value in {**terms, "loss": loss}.items():
                    sums[name] = sums.get(name, torch.zeros(())) + len(batch) * value.detach()
            means = {name: float(total) / len(images) for name, total in sums.items()}
            record = Epoch(
                epoch=number,
                epochs=config.optimizer.epochs,
                lr=float(schedule.get_last_lr()[0]),
                loss=means.pop("loss"),
                terms=means,
                order_sha256=fingerprint(order),
                validation_accuracy=validate(student) if validate else None,
                seconds=time.perf_counter() - start,
            )
            schedule.step()
            history.append(record)
            if on_epoch:
                on_epoch(record)
    return history


def make_optimizer(
    student: nn.Module, adapters: nn.ModuleList | None, config: OptimizerConfig
) -> torch.optim.SGD:
    """Return SGD over the student, its adapters and its activation steps, a group each.

    The steps have their own rate, ``step_factor`` times the others', and no weight decay: decay
    would draw log α to 0, that is α to 1.
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
    )


@torch.no_grad()
def accuracy(network: nn.Module, inputs: Tensor, labels: Tensor, batch_size: int = 500) -> float:
    """Return the share of inputs, as the network takes them, whose largest logit is the label."""
    network.eval()
    with parametrize.cached():  # projects each weight once, not once a batch
        hits = [
            (network(batch).argmax(1) == truth).sum()
            for batch, truth in zip(
                torch.split(inputs, batch_size), torch.split(labels, batch_size), strict=True
            )
        ]
    return float(torch.stack(hits).sum()) / len(labels)


def check_teacher(teacher: object | None, objective: ObjectiveConfig) -> None:
    """Refuse a missing teacher, and one that no term would ask (ValueError)."""
    _check_needed("teacher", teacher, objective.kd + objective.fa, "objective.kd or objective.fa")


def _check_needed(what: str, value: object | None, weight: float, name: str) -> None:
    if weight > 0 and value is None:
        raise ValueError(
            f"{what} is None, which a positive {name} needs: give it or set that to 0."
        )
    if weight == 0 and value is not None:
        raise ValueError(
            f"{what} is given, but nothing uses it: leave it out or make {name} positive."
        )


def _stop_unless_finite(tensor: Tensor, what: str, epoch: int) -> None:
    if not torch.isfinite(tensor).all():
        raise TrainingDiverged(
            f"training diverged in epoch {epoch}: {what} is not finite; lower optimizer.lr."
        )
