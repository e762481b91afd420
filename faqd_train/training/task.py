"""What is learnt in a training, and from what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from faqd_train.config.schema import ObjectiveConfig
from faqd_train.training.seeds import Streams
from faqd_train.training.teacher import TeacherPass

Prepare = Callable[[Tensor, torch.Generator | None], Tensor]


@dataclass(frozen=True)
class Task:
    """A network and what it learns from.

    Parameters
    ----------
    student : nn.Module
        Trained in place; a teacher in the making where labels are the only term.
    images : Tensor (N, C, H, W)
        What ``prepare`` takes, on the device of the networks.
    prepare : callable
        Makes a batch of images a network's input; the generator is for augmentation.
    streams : Streams
        The random streams for data order, augmentation and probes. Probes are drawn on the
        images' device, by another generator of the same seed if need be.
    teacher : TeacherPass, optional
        Needed for the terms kd and fa.
    adapters : nn.ModuleList, optional
        Needed for fa: one for each tap, trained with the student.
    labels : Tensor (N,), int64, optional
        Needed if, and accepted only if, there is a label term.
    validate : callable, optional
        Gives an accuracy to report after each epoch, and to choose the best one by.
    """

    student: nn.Module
    images: Tensor
    prepare: Prepare
    streams: Streams
    teacher: TeacherPass | None = None
    adapters: nn.ModuleList | None = None
    labels: Tensor | None = None
    validate: Callable[[nn.Module], float] | None = None

    def check(self, objective: ObjectiveConfig) -> None:
        """Refuse what an objective needs and is missing, or is given and not used (ValueError)."""
        check_teacher(self.teacher, objective)
        check_needed("adapters", self.adapters, objective.fa is not None, "objective.fa")
        check_needed("labels", self.labels, objective.label is not None, "objective.label")


def check_teacher(teacher: object | None, objective: ObjectiveConfig) -> None:
    """Refuse a missing teacher, and one that no term uses (ValueError)."""
    check_needed("teacher", teacher, objective.needs_teacher, "objective.kd or objective.fa")


def check_needed(what: str, value: object | None, needed: bool, term: str) -> None:
    """Refuse a missing value that a term needs, and one that no term uses (ValueError).

    Examples
    --------
    >>> check_needed("labels", None, True, "objective.label")
    Traceback (most recent call last):
        ...
    ValueError: labels is None, which objective.label needs: give it or set that term to none.
    """
    if needed and value is None:
        raise ValueError(f"{what} is None, which {term} needs: give it or set that term to none.")
    if not needed and value is not None:
        raise ValueError(f"{what} is given, but no term uses it: leave it out or add {term}.")
