"""One run from its configuration to its results: data, networks, training, record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch
from torch import nn

from faqd_train import data
from faqd_train.config.migration import recorded_config
from faqd_train.config.schema import Config
from faqd_train.networks.adapters import make_adapters
from faqd_train.networks.building import build_network
from faqd_train.quantization.activations import activation_steps, calibrate
from faqd_train.quantization.model import weight_levels
from faqd_train.runs.common import Common, inputs_key
from faqd_train.runs.features import capture_features, save_features
from faqd_train.runs.folder import ADAPTERS, BEST, FEATURES, RECORD, WEIGHTS, clear_folder
from faqd_train.runs.load import (
    Run,
    check_teacher_data,
    evaluate,
    identify,
    load_run,
    retest_teacher,
)
from faqd_train.runs.record import (
    SCHEMA,
    Record,
    environment,
    place,
    read_record,
    save_weights,
    write_record,
)
from faqd_train.training import distributed
from faqd_train.training.checkpoints import Checkpoints, has_checkpoint, remove_checkpoints
from faqd_train.training.compiling import check_compiling
from faqd_train.training.loop import accuracy, training
from faqd_train.training.objective import check_teacher
from faqd_train.training.seeds import make_streams
from faqd_train.training.signals import Stop
from faqd_train.training.state import Epoch, TrainingState
from faqd_train.training.teacher import CALIBRATION_IMAGES, make_teacher_pass
from faqd_train.training.turns import Turns


def train_in(
    out: Path,
    config: Config,
    *,
    teacher: Path | None,
    resume: bool,
    device: torch.device,
    on_epoch: Callable[[Epoch], None],
    stop: Stop,
    common: Common,
) -> Turns[Record]:
    """Build, train, test and record; the arguments are those of `run_experiment`.

    Images and teacher are among what the runs of the process have in common.
    """
    started, objective = datetime.now(UTC), config.objective
    streams = make_streams(config.run.seed, config.run.data_seed)
    check_teacher(teacher, objective)
    if config.run.compile:
        check_compiling(device)
    seen = inputs_key(config)
    guide = None
    if teacher is not None:
        guide = common.once(
            ("teacher", teacher, seen), partial(_load_teacher, teacher, config, device)
        )

    prepare = data.load_preparation(config.data)
    images = common.once(
        ("train", seen),
        lambda: data.load_images(config.data, "train")[: config.data.limit].to(device),
    )
    teacher_pass = None
    if guide:
        calibration = partial(prepare, images[:CALIBRATION_IMAGES])
        make = partial(make_teacher_pass, guide.network, config, calibration)
        teacher_pass = common.once(("pass", teacher, seen), lambda: common.enter_context(make()))
    labels = None
    if objective.label is not None:
        labels = data.load_labels(config.data, "train")[: config.data.limit].to(device)
    validation = common.once(
        ("validation", seen), lambda: data.load_images(config.data, "validation").to(device)
    )
    validate = None
    if data.has_labels(config.data, "validation"):
        truth = data.load_labels(config.data, "validation").to(device)
        validate = partial(accuracy, images=validation, labels=truth, prepare=prepare)

    start = load_run(config.model.init) if config.model.init is not None else None
    network = build_network(
        config.model,
        config.quantization,
        data.describe(config.data),
        streams.weights,
        initial=start.network if start else None,
    )
    adapters = None
    if guide and objective.fa is not None:
        sample = prepare(validation[:1]).cpu()  # the generators draw there
        adapters = make_adapters(
            network,
            guide.network,
            sample,
            objective.taps,
            streams.adapters,
            teacher_taps=objective.teacher_tapped,
        )
        adapters.to(device)
    calibrate(network.to(device), prepare(images[: config.quantization.calibration_images]))

    def capture(moment: str) -> None:
        if guide is not None and config.run.capture and distributed.is_main():
            inputs = prepare(validation[: config.run.capture])
            save_features(
                out / FEATURES.format(moment=moment),
                student=capture_features(network, inputs, objective.taps, adapters=adapters),
                teacher=capture_features(guide.network, inputs, objective.teacher_tapped),
            )

    def end_epoch(epoch: Epoch) -> None:
        if epoch.epoch in config.run.capture_epochs:
            capture(f"epoch{epoch.epoch}")
        on_epoch(epoch)

    content = {"train_sha256": data.fingerprint(images), "train": len(images)}
    identity = {
        "config": config.settings(),
        "data": content,
        "init": identify(start) if start else None,
        "teacher": identify(guide) if guide else None,
    }
    if distributed.is_main():
        clear_folder(out, resume=resume)
        if not has_checkpoint(out):
            capture("before")
    distributed.wait_for_all()
    checkpoints = Checkpoints(
        out,
        identity,
        resume,
        config.run.checkpoint_steps,
        place=place(device, distributed.process_count()),
        upgrade=_upgrade,
    )
    state = yield from training(
        network,
        images,
        config,
        streams=streams,
        prepare=prepare,
        teacher=teacher_pass,
        adapters=adapters,
        labels=labels,
        validate=validate,
        on_epoch=end_epoch,
        checkpoints=checkpoints,
        stop=stop,
    )
    if distributed.is_main():
        capture("after")
        record: Record = {
            "schema": SCHEMA,
            "started": started.isoformat(timespec="seconds"),
            **identity,
            "config": config.model_dump(mode="json"),
            "data": content | {"validation": len(validation)},
            "teacher_pass": teacher_pass.told() if teacher_pass else None,
            "environment": environment(device, distributed.process_count()),
            "epochs": [asdict(epoch) for epoch in state.history],
            "seconds": sum(epoch.seconds for epoch in state.history),
        }
        record |= _results(out, network, adapters, config, state)
        write_record(out / RECORD, record)  # last: a folder with run.json is a finished run
        remove_checkpoints(out)
    distributed.wait_for_all()
    return read_record(out / RECORD)


def _upgrade(identity: Record) -> Record:
    """Return the identity in a checkpoint of any version with the present settings."""
    return identity | {"config": recorded_config(identity["config"]).settings()}


def _load_teacher(folder: Path, config: Config, device: torch.device) -> Run:
    """Read a teacher's run, and test it again."""
    guide = load_run(folder)
    check_teacher_data(guide, config)
    guide.network.to(device)
    retest_teacher(guide, config)
    return guide


def _results(
    out: Path,
    network: nn.Module,
    adapters: nn.ModuleList | None,
    config: Config,
    state: TrainingState,
) -> Record:
    """Test the last weights and the best ones, and write both; the network ends with the best."""
    network.eval()  # in training mode, looking at the levels would move alternating steps
    labelled = data.has_labels(config.data, "test")
    results: Record = {
        "validation_accuracy": state.history[-1].validation_accuracy,
        "test_accuracy": evaluate(network, config, "test") if labelled else None,
        "weight_levels": weight_levels(network),
        "activation_steps": activation_steps(network),
        "weights_sha256": save_weights(out / WEIGHTS, network.state_dict()),
        "adapters_sha256": (
            save_weights(out / ADAPTERS, adapters.state_dict()) if adapters else None
        ),
    }
    best = state.best
    if best is not None:
        network.load_state_dict(best.weights)
        results["best"] = {
            "epoch": best.epoch,
            "validation_accuracy": best.validation_accuracy,
            "test_accuracy": evaluate(network, config, "test") if labelled else None,
            "weights_sha256": save_weights(out / BEST, best.weights),
        }
    return results
