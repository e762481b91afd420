"""What a run trains on and with: images, labels, teacher, student, adapters."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from faqd_train import data
from faqd_train.config.schema import Config
from faqd_train.data.statistics import Statistics
from faqd_train.networks.adapters import make_adapters
from faqd_train.networks.building import build_network
from faqd_train.networks.normalisation import accept_normalised_by
from faqd_train.quantization.activations import calibrate
from faqd_train.runs.cache import RunCache, images_key, inputs_key
from faqd_train.runs.load import Run, check_teacher_accuracy, check_teacher_data, data_of, load_run
from faqd_train.training.loop import accuracy
from faqd_train.training.seeds import make_streams
from faqd_train.training.signals import Stop
from faqd_train.training.task import Task
from faqd_train.training.teacher import CALIBRATION_IMAGES, TeacherPass, make_teacher_pass


@dataclass(frozen=True)
class Setting:
    """Where runs train, what they share, and what stops them."""

    device: torch.device
    teacher_run: Path | None
    resume: bool
    overwrite: bool
    taps: tuple[str, ...] = ()  # of the teacher, that any of the runs needs
    cache: RunCache = field(default_factory=RunCache)
    stop: Stop = lambda: None


@dataclass(frozen=True)
class Shared:
    """What runs of equal inputs have in common."""

    prepare: data.Preparation
    images: Tensor
    validation: Tensor
    teacher: Run | None
    teacher_pass: TeacherPass | None


def load_shared(config: Config, setting: Setting) -> Shared:
    """Load images and teacher, or take them from the cache of the process."""
    cache, device, key = setting.cache, setting.device, images_key(config)
    teacher_run, prepare = setting.teacher_run, data.load_preparation(config.data)
    teacher = None
    if teacher_run is not None:
        load = partial(_load_teacher, teacher_run, config, prepare.statistics, device)
        teacher = cache.once(("teacher", teacher_run, key, config.run.teacher), load)
    images = cache.once(
        ("train", key),
        lambda: data.load_images(config.data, "train")[: config.data.limit].to(device),
    )
    teacher_pass = None
    if teacher:
        sample = partial(prepare, images[:CALIBRATION_IMAGES])
        taps = setting.taps if config.run.cuda_graph else None
        make = partial(make_teacher_pass, teacher.network, config, sample, taps)
        teacher_pass = cache.once(
            ("pass", teacher_run, inputs_key(config)), lambda: cache.enter_context(make())
        )
    validation = cache.once(
        ("validation", key), lambda: data.load_images(config.data, "validation").to(device)
    )
    return Shared(prepare, images, validation, teacher, teacher_pass)


def _load_teacher(
    folder: Path, config: Config, statistics: Statistics, device: torch.device
) -> Run:
    """Read a teacher's run, test it again, and let it take the student's inputs."""
    teacher = load_run(folder)
    check_teacher_data(teacher, config)
    teacher.network.to(device)
    check_teacher_accuracy(teacher, config)
    own = data.load_preparation(data_of(teacher, config)).statistics
    accept_normalised_by(teacher.network, statistics, own)
    return teacher


def make_task(config: Config, shared: Shared, device: torch.device, start: Run | None) -> Task:
    """Build the networks, calibrate the student, and read the labels that are used."""
    streams, objective = make_streams(config.run.seed, config.run.data_seed), config.objective
    labels = None
    if objective.label is not None:
        labels = data.load_labels(config.data, "train")[: config.data.limit].to(device)
    validate = None
    if data.has_labels(config.data, "validation"):
        truth = data.load_labels(config.data, "validation").to(device)
        validate = partial(accuracy, images=shared.validation, labels=truth, prepare=shared.prepare)
    student = build_network(
        config.model,
        config.quantization,
        data.describe(config.data),
        streams.weights,
        initial=start.network if start else None,
    )
    adapters = None
    if shared.teacher and objective.fa is not None:
        sample = shared.prepare(shared.validation[:1]).cpu()  # the generators draw there
        adapters = make_adapters(
            student,
            shared.teacher.network,
            sample,
            objective.taps,
            streams.adapters,
            teacher_taps=objective.teacher_tapped,
        ).to(device)
    sample = shared.prepare(shared.images[: config.quantization.calibration_images])
    calibrate(student.to(device), sample)
    return Task(
        student,
        shared.images,
        shared.prepare,
        streams,
        teacher=shared.teacher_pass,
        adapters=adapters,
        labels=labels,
        validate=validate,
    )
