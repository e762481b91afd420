"""Runs read back from their folders: their networks, tested again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from faqd_train import data
from faqd_train.config.data import DataConfig
from faqd_train.config.files import check_config
from faqd_train.config.schema import Config
from faqd_train.networks.building import build_network
from faqd_train.runs.folder import BEST, RECORD, WEIGHTS
from faqd_train.runs.record import Record, load_weights, read_record
from faqd_train.training.loop import accuracy
from faqd_train.training.seeds import make_streams

TEACHER_TOLERANCE = 0.001  # of its accuracy, when it is loaded
_ROUNDING = 1e-9  # of the difference of two shares


@dataclass(frozen=True)
class Run:
    """A finished run, read back."""

    network: nn.Module  # in evaluation mode, with the weights that were chosen
    config: Config
    record: Record


def load_run(folder: Path, weights: Literal["last", "best"] = "last") -> Run:
    """Read a finished run's network, configuration and record.

    Parameters
    ----------
    folder : Path
        Of the run.
    weights : {"last", "best"}
        Those after the last epoch, or after the one of the highest validation accuracy.

    Raises
    ------
    ValueError
        If the folder holds no finished run, or its files are not as recorded.
    """
    path = folder / RECORD
    if not path.is_file():
        raise ValueError(
            f"{folder} holds no run.json; the folder of a finished run is accepted: train it first."
        )
    record = read_record(path)
    config = check_config(record["config"])
    network = build_network(
        config.model,
        config.quantization,
        data.describe(config.data),
        make_streams(config.run.seed).weights,
    )
    name, recorded = (WEIGHTS, record) if weights == "last" else (BEST, record.get("best"))
    if recorded is None:
        raise ValueError(
            f"{folder} holds no best weights, as its images have no labels to choose by; the last "
            f"ones are accepted: choose those."
        )
    load_weights(folder / name, network, recorded["weights_sha256"])
    return Run(network.eval(), config, record)


def evaluate(
    network: nn.Module, config: Config, split: data.Split, precision: str = "float32"
) -> float:
    """Return a network's accuracy, on its own device, on a split of its configuration's data."""
    device = next(network.parameters()).device
    images, labels = data.load_images(config.data, split), data.load_labels(config.data, split)
    return accuracy(
        network,
        images.to(device),
        labels.to(device),
        prepare=data.load_preparation(config.data),
        precision=precision,
    )


def check_teacher_data(teacher: Run, config: Config) -> None:
    """Refuse a teacher of other images or logits, or that has trained on held-out images.

    Raises
    ------
    ValueError
        If channels or classes differ, or one data set is split differently.
    """
    ours, theirs = config.data, teacher.config.data
    here, there = data.describe(ours), data.describe(theirs)
    if (here.channels, here.classes) != (there.channels, there.classes):
        raise ValueError(
            f"the teacher was trained on {theirs.name} with {there.channels} channels and "
            f"{there.classes} classes, the student's {ours.name} has {here.channels} and "
            f"{here.classes}; equal ones are accepted: choose a teacher of such data."
        )
    if ours.name == theirs.name != "folder" and ours.held_out != theirs.held_out:
        raise ValueError(
            f"data.held_out is {ours.held_out} here and {theirs.held_out} in the teacher's run, "
            f"which so has trained on other images: set it to the teacher's."
        )


def check_teacher_accuracy(teacher: Run, config: Config) -> None:
    """Refuse a teacher that is not as good here, in the precision to be used, as recorded.

    Its images are taken from where the student's are, if both are of one data set. One whose own
    images have no labels cannot be tested.
    """
    recorded, precision = teacher.record["validation_accuracy"], config.run.teacher.precision
    if recorded is None:
        return
    own = teacher.config.model_copy(update={"data": data_of(teacher, config)})
    found = evaluate(teacher.network, own, "validation", precision)
    if abs(found - recorded) > TEACHER_TOLERANCE + _ROUNDING:
        raise ValueError(
            f"the teacher's validation accuracy is {found:.2%} here in {precision} and "
            f"{recorded:.2%} in its record; a difference of {TEACHER_TOLERANCE:.1%} at most is "
            f"accepted: use the data, device and precision it was recorded with, or train it again."
        )


def data_of(teacher: Run, config: Config) -> DataConfig:
    """Return the teacher's own data, at the student's place if both are of one data set."""
    own = teacher.config.data
    if own.name == config.data.name != "folder":
        places = {"dir": config.data.dir, "cache": config.data.cache}
        own = own.model_copy(update=places)
    return own


def check_start(start: Run, config: Config) -> None:
    """Refuse a run to start from that takes inputs of another normalisation (ValueError)."""
    here = data.load_preparation(config.data).statistics
    there = data.load_preparation(data_of(start, config)).statistics
    if here != there:
        mean, std = ([round(v / 255, 6) for v in values] for values in (there.mean, there.std))
        raise ValueError(
            f"the run that model.init names takes inputs normalised by mean {mean} and std {std}, "
            f"and this one by others; the same ones are accepted: set data.mean and data.std to "
            f"them."
        )


def identify(run: Run) -> dict[str, object]:
    """Say which teacher it was, by its weights rather than by a path."""
    keys = ("weights_sha256", "validation_accuracy", "test_accuracy")
    return {"seed": run.config.run.seed} | {key: run.record[key] for key in keys}
