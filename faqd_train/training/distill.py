"""One call to distill a teacher of your own into a student of your own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from faqd_train.config.schema import Config
from faqd_train.networks.adapters import make_adapters
from faqd_train.quantization.activations import calibrate
from faqd_train.quantization.model import is_quantized, quantize_as_configured
from faqd_train.training.loop import Training, fit
from faqd_train.training.seeds import make_streams
from faqd_train.training.state import Epoch
from faqd_train.training.task import Prepare, Task
from faqd_train.training.teacher import CALIBRATION_IMAGES, make_teacher_pass


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
        With modules named as in ``taps`` and ``teacher_taps`` of ``config.objective.fa``. A float
        student is first quantized and calibrated as ``config.quantization`` says; one that is
        quantized already, by `quantize_model`, stays so. The teacher is not trained. Both end in
        evaluation mode.
    images : Tensor (N, C, H, W)
        Training images, as the networks take them or as ``prepare`` does, on the networks' device.
    config : Config
        Its quantization, objective, optimizer and run sections are used.
    labels : Tensor (N,), int64, optional
        Needed if, and accepted only if, there is an ``objective.label``.
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
        If what the objective needs is missing or more is given, a tap is unknown, or the student
        has nothing to quantize.
    TrainingDiverged
        If logits or loss are no longer finite.

    Examples
    --------
    >>> from faqd_train import distill, load_config
    >>> from faqd_train.networks.resnet import preact_resnet
    >>> config = load_config(
    ...     "digits-fa", ["model.widths=[4, 4, 4]", "optimizer.epochs=2", "optimizer.lr=0.01"]
    ... )
    >>> generator = torch.Generator().manual_seed(0)
    >>> teacher, student = (
    ...     preact_resnet(config.model, in_channels=1, classes=10, generator=generator)
    ...     for _ in range(2)
    ... )
    >>> images = torch.randn(200, 1, 8, 8, generator=generator)
    >>> first, last = distill(teacher, student, images, config)
    >>> last.loss < first.loss
    True
    >>> len(student.stage1.blocks[0].branch[0].weight.unique()) <= 15  # 4 bits
    True
    """
    prepare = prepare or as_given
    streams = make_streams(config.run.seed, config.run.data_seed)
    if not is_quantized(student):
        quantize_as_configured(student, config.quantization)
        calibrate(student, prepare(images[: config.quantization.calibration_images], None))
    adapters = None
    if config.objective.fa is not None:
        sample = prepare(images[:2], None)
        adapters = make_adapters(
            student,
            teacher,
            sample,
            config.objective.taps,
            streams.adapters,
            teacher_taps=config.objective.teacher_tapped,
        )
    batch = partial(prepare, images[:CALIBRATION_IMAGES], None)
    with make_teacher_pass(teacher, config, batch) as teacher_pass:
        task = Task(
            student,
            images,
            prepare,
            streams,
            teacher=teacher_pass,
            adapters=adapters,
            labels=labels,
        )
        with Training(task, config) as training:
            state = fit(training, on_epoch=on_epoch)
    student.eval()
    return state.history


def as_given(images: Tensor, _generator: torch.Generator | None) -> Tensor:
    """Prepare nothing: the images are what the networks take."""
    return images
