"""One call to distill a teacher of your own into a student of your own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from faqd_train.adapters import make_adapters
from faqd_train.config import Config
from faqd_train.engine import Epoch, Prepare, fit
from faqd_train.streams import make_streams


def distill(
    teacher: nn.Module,
    student: nn.Module,
    images: Tensor,
    config: Config,
    *,
    labels: Tensor | None = None,
    prepare: Prepare | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Train any student, in place, on any teacher's logits and feature maps.

    Parameters
    ----------
    teacher, student : nn.Module
        Both have modules named as in ``config.objective.taps``. The student is quantized
        beforehand, by `quantize_model`; the teacher is put in evaluation mode and not trained.
    images : Tensor (N, C, H, W)
        Training images, as the networks take them or as ``prepare`` does.
    config : Config
        Its objective, optimizer and seed are used.
    labels : Tensor (N,), int64, optional
        Needed if, and accepted only if, ``objective.label`` is positive.
    prepare : callable, optional
        ``prepare(images, generator)`` makes a batch the networks' input; the generator is for
        augmentation.
    on_epoch : callable, optional
        Called with each epoch's record.

    Returns
    -------
    list of Epoch

    Raises
    ------
    ValueError
        If what the objective needs is missing or more is given, or a tap is unknown.
    TrainingDiverged
        If logits or loss are no longer finite.

    Examples
    --------
    >>> from faqd_train import distill, load_config, quantize_model
    >>> from faqd_train.models import preact_resnet
    >>> config = load_config(
    ...     "digits-fa", ["model.widths=[4, 4, 4]", "optimizer.epochs=2", "optimizer.lr=0.01"]
    ... )
    >>> generator = torch.Generator().manual_seed(0)
    >>> teacher, student = (
    ...     preact_resnet(config.model, in_channels=1, classes=10, generator=generator)
    ...     for _ in range(2)
    ... )
    >>> student = quantize_model(student, weight_bits=4, activation_bits=4)
    >>> images = torch.randn(200, 1, 8, 8, generator=generator)
    >>> first, last = distill(teacher, student, images, config)
    >>> last.loss < first.loss
    True
    """
    prepare = prepare or as_given
    streams = make_streams(config.run.seed)
    adapters = None
    if config.objective.fa > 0:
        sample = prepare(images[:2], None)
        adapters = make_adapters(student, teacher, sample, config.objective.taps, streams.adapters)
    return fit(
        student,
        images,
        config,
        streams=streams,
        prepare=prepare,
        teacher=teacher,
        adapters=adapters,
        labels=labels,
        on_epoch=on_epoch,
    )


def as_given(images: Tensor, _generator: torch.Generator | None) -> Tensor:
    """Prepare nothing: the images are what the networks take."""
    return images
