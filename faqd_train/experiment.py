"""One run from its configuration to its folder: data, networks, training, record."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor, nn

from faqd_train import data
from faqd_train.adapters import make_adapters
from faqd_train.config import Config
from faqd_train.config_files import check_config
from faqd_train.engine import Epoch, accuracy, check_teacher, fit
from faqd_train.features import capture_features, save_features
from faqd_train.models import preact_resnet
from faqd_train.quantize_activations import activation_steps, calibrate
from faqd_train.quantizers import quantize_model, weight_levels
from faqd_train.records import (
    SCHEMA,
    Record,
    environment,
    load_weights,
    read_record,
    save_weights,
    write_record,
)
from faqd_train.streams import make_streams


@dataclass(frozen=True)
class Run:
    """A finished run, read back."""

    network: nn.Module  # in evaluation mode, with the weights of its last epoch
    config: Config
    record: Record


def run_experiment(
    config: Config,
    out: Path,
    *,
    teacher: Path | None = None,
    overwrite: bool = False,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Record:
    """Train the network of a configuration and leave a folder that tells all about it.

    Parameters
    ----------
    config : Config
        From `load_config`.
    out : Path
        Folder to write: ``run.json``, ``weights.safetensors``, with FA
        ``adapters.safetensors``, and with ``run.capture`` ``features_before.npz`` and
        ``features_after.npz``.
    teacher : Path, optional
        Folder of the teacher's run; needed if and only if the objective has kd or fa.
    overwrite : bool
        Replace a finished run that ``out`` holds.
    on_epoch : callable, optional
        Called with each epoch's record.

    Returns
    -------
    dict
        What run.json holds.

    Raises
    ------
    ValueError
        If the folder holds a run, the teacher is missing, unneeded or of other data, or
        something in the configuration names what is not there.
    TrainingDiverged
        If logits or loss are no longer finite.

    Notes
    -----
    With label weight 0 the training labels are not loaded. The labels of the validation split
    are read to report accuracy by epoch; the test split is read at the end, once.
    """
    start, started = time.perf_counter(), datetime.now(UTC)
    _check_folder(out, overwrite)
    name, objective = config.data.name, config.objective
    streams = make_streams(config.run.seed)
    guide = load_run(teacher) if teacher is not None else None
    check_teacher(guide, objective)

    train_images = data.load_images(name, "train")
    prepare = data.make_preparation(train_images, config.data.shift)
    images = train_images[: config.data.limit]
    labels = data.load_labels(name, "train")[: config.data.limit] if objective.label > 0 else None
    validation = prepare(data.load_images(name, "validation"))
    validation_labels = data.load_labels(name, "validation")

    network = build_network(config, streams.weights)
    calibrate(network, prepare(images[: config.quantization.calibration_images]))
    adapters = None
    if guide and objective.fa > 0:
        adapters = make_adapters(
            network, guide.network, validation[:1], objective.taps, streams.adapters
        )

    def capture(moment: str) -> None:
        if guide is not None and config.run.capture:
            inputs = validation[: config.run.capture]
            save_features(
                out / f"features_{moment}.npz",
                student=capture_features(network, inputs, objective.taps, adapters=adapters),
                teacher=capture_features(guide.network, inputs, objective.taps),
            )

    out.mkdir(parents=True, exist_ok=True)
    (out / "run.json").unlink(missing_ok=True)  # from here on the folder is unfinished
    capture("before")
    history = fit(
        network,
        images,
        config,
        streams=streams,
        prepare=prepare,
        teacher=guide.network if guide else None,
        adapters=adapters,
        labels=labels,
        validate=lambda trained: accuracy(trained, validation, validation_labels),
        on_epoch=on_epoch,
    )
    capture("after")

    record: Record = {
        "schema": SCHEMA,
        "started": started.isoformat(timespec="seconds"),
        "config": config.model_dump(mode="json"),
        "environment": environment(),
        "data": {
            "train_sha256": data.fingerprint(images),
            "train": len(images),
            "validation": len(validation),
        },
        "teacher": _identity(guide) if guide else None,
        "epochs": [asdict(epoch) for epoch in history],
        "validation_accuracy": history[-1].validation_accuracy,
        "test_accuracy": evaluate(network, config, "test"),
        "weight_levels": weight_levels(network),
        "activation_steps": activation_steps(network),
        "weights_sha256": save_weights(out / "weights.safetensors", network),
        "adapters_sha256": (
            save_weights(out / "adapters.safetensors", adapters) if adapters else None
        ),
        "seconds": time.perf_counter() - start,
    }
    write_record(out / "run.json", record)  # last: a folder with run.json is a finished run
    return record


def build_network(config: Config, generator: torch.Generator) -> nn.Module:
    """Return the network that a configuration describes, quantized, with random weights."""
    source = data.SOURCES[config.data.name]
    network = preact_resnet(
        config.model, in_channels=source.channels, classes=source.classes, generator=generator
    )
    bits = config.quantization
    return quantize_model(
        network, bits.weight_bits, bits.activation_bits, keep_float=bits.keep_float
    )


def load_run(folder: Path) -> Run:
    """Read a finished run's network, configuration and record.

    Raises
    ------
    ValueError
        If the folder holds no finished run, or its files are not as recorded.
    """
    path = folder / "run.json"
    if not path.is_file():
        raise ValueError(
            f"{folder} holds no run.json; the folder of a finished run is accepted: train it first."
        )
    record = read_record(path)
    config = check_config(record["config"])
    network = build_network(config, make_streams(config.run.seed).weights)
    load_weights(folder / "weights.safetensors", network, record["weights_sha256"])
    return Run(network.eval(), config, record)


def evaluate(network: nn.Module, config: Config, split: data.Split) -> float:
    """Return a network's accuracy on a split of its configuration's data."""
    name = config.data.name
    prepare = data.make_preparation(data.load_images(name, "train"), config.data.shift)
    inputs: Tensor = prepare(data.load_images(name, split))
    return accuracy(network, inputs, data.load_labels(name, split))


def _identity(run: Run) -> dict[str, object]:
    """Tell which teacher it was, by its weights rather than by a path."""
    keys = ("weights_sha256", "validation_accuracy", "test_accuracy")
    return {"seed": run.config.run.seed} | {key: run.record[key] for key in keys}


def _check_folder(out: Path, overwrite: bool) -> None:
    if (out / "run.json").exists() and not overwrite:
        raise ValueError(
            f"{out} holds a finished run; an empty or new folder is accepted: choose another, or "
            f"ask to overwrite it."
        )
