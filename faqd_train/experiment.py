"""One run from its configuration to its folder: data, networks, training, record."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch
from torch import nn

from faqd_train import data, distributed
from faqd_train.adapters import make_adapters
from faqd_train.checkpoints import Checkpoints, has_checkpoint, remove_checkpoints
from faqd_train.config import Config
from faqd_train.engine import accuracy, check_teacher, fit
from faqd_train.features import capture_features, save_features
from faqd_train.finished_runs import (
    check_teacher_data,
    evaluate,
    identify,
    load_run,
    retest_teacher,
)
from faqd_train.guards import TrainingDiverged
from faqd_train.interruption import Stop, deferred_signals
from faqd_train.networks import build_network
from faqd_train.precision import find_device
from faqd_train.quantize_activations import activation_steps, calibrate
from faqd_train.quantizers import weight_levels
from faqd_train.records import (
    SCHEMA,
    Record,
    environment,
    place,
    read_record,
    save_weights,
    write_metrics,
    write_record,
)
from faqd_train.run_folders import (
    ADAPTERS,
    BEST,
    CURVES,
    FEATURES,
    METRICS,
    RECORD,
    WEIGHTS,
    claimed,
    clear_folder,
    finished_run,
    record_divergence,
)
from faqd_train.streams import make_streams
from faqd_train.tensorboard_log import tensorboard_log
from faqd_train.training_state import Epoch, TrainingState


def run_experiment(
    config: Config,
    out: Path,
    *,
    teacher: Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    device: str = "cpu",
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Record:
    """Train the network of a configuration and leave a folder that tells all about it.

    Parameters
    ----------
    config : Config
        From `load_config`.
    out : Path
        Folder to write: ``run.json``, ``metrics.jsonl`` (a line an epoch, as it ends),
        ``weights.safetensors`` and ``best.safetensors`` (after the last epoch, and after the one
        of the highest validation accuracy), with FA ``adapters.safetensors``, and with
        ``run.capture`` ``features_before.npz``, ``features_after.npz`` and, say,
        ``features_epoch5.npz``; with ``run.tensorboard`` the folder ``tensorboard``.
    teacher : Path, optional
        Folder of the teacher's run; needed if and only if the objective has kd or fa.
    overwrite : bool
        Replace a run that ``out`` holds.
    resume : bool
        Go on from the checkpoint in ``out``, if it holds one; return the record of a finished run
        as it is.
    device : str
        Where the networks and the data lie: "cpu", "cuda", …
    on_epoch : callable, optional
        Called with each epoch's record.

    Returns
    -------
    dict
        What run.json holds.

    Raises
    ------
    ValueError
        If the folder holds another run or is in use by one, the checkpoints are damaged, the
        teacher is missing, unneeded, of other data or not as good as recorded, or something in
        the configuration names what is not there.
    TrainingDiverged
        If logits, loss, gradients or last weights are not finite, or the loss explodes. The folder
        keeps the diagnosis in ``diverged.json``, and to resume the run gives it again.
    Interrupted
        If SIGINT or SIGTERM came; the state is saved, to be resumed.
    OSError
        If something cannot be written; the last checkpoint is kept.

    Notes
    -----
    With label weight 0 the training labels are not loaded. The labels of the validation split
    are read to report accuracy by epoch; the test split is read at the end, once the training is
    over.

    On CPU, a run that is killed at any moment and resumed ends with the same bits as one that is
    not. Under ``torchrun`` the processes share each batch, and one of them writes.
    """
    with (
        deferred_signals() as stop,
        distributed.processes(find_device(device)) as own_device,
        claimed(out) if distributed.is_main() else nullcontext(),
    ):
        finished = finished_run(out, config, overwrite=overwrite, resume=resume)
        if finished:
            return finished
        wanted = config.run.tensorboard and distributed.is_main()
        with tensorboard_log(out / CURVES, wanted=wanted) as draw:

            def log(epoch: Epoch) -> None:
                if distributed.is_main():
                    write_metrics(out / METRICS, asdict(epoch))
                draw(epoch)
                if on_epoch:
                    on_epoch(epoch)

            try:
                return _train(config, out, teacher, resume, own_device, log, stop)
            except TrainingDiverged as error:
                if distributed.is_main():
                    record_divergence(out, config, error)
                raise


def _train(
    config: Config,
    out: Path,
    teacher: Path | None,
    resume: bool,
    device: torch.device,
    on_epoch: Callable[[Epoch], None],
    stop: Stop,
) -> Record:
    """Build, train, test and record; the arguments are those of `run_experiment`."""
    started, objective = datetime.now(UTC), config.objective
    streams = make_streams(config.run.seed)
    guide = load_run(teacher) if teacher is not None else None
    check_teacher(guide, objective)
    if guide:
        check_teacher_data(guide, config)

    prepare = data.load_preparation(config.data)
    images = data.load_images(config.data, "train")[: config.data.limit].to(device)
    labels = None
    if objective.label > 0:
        labels = data.load_labels(config.data, "train")[: config.data.limit].to(device)
    validation = data.load_images(config.data, "validation").to(device)
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
    if guide and objective.fa > 0:
        sample = prepare(validation[:1]).cpu()  # the generators draw there
        adapters = make_adapters(
            network,
            guide.network,
            sample,
            objective.taps,
            streams.adapters,
            teacher_taps=objective.teacher_taps,
        )
        adapters.to(device)
    if guide:
        guide.network.to(device)
        retest_teacher(guide, config)
    calibrate(network.to(device), prepare(images[: config.quantization.calibration_images]))

    def capture(moment: str) -> None:
        if guide is not None and config.run.capture and distributed.is_main():
            inputs = prepare(validation[: config.run.capture])
            save_features(
                out / FEATURES.format(moment=moment),
                student=capture_features(network, inputs, objective.taps, adapters=adapters),
                teacher=capture_features(
                    guide.network, inputs, objective.teacher_taps or objective.taps
                ),
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
    )
    state = fit(
        network,
        images,
        config,
        streams=streams,
        prepare=prepare,
        teacher=guide.network if guide else None,
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
            "environment": environment(device, distributed.process_count()),
            "epochs": [asdict(epoch) for epoch in state.history],
            "seconds": sum(epoch.seconds for epoch in state.history),
        }
        record |= _results(out, network, adapters, config, state)
        write_record(out / RECORD, record)  # last: a folder with run.json is a finished run
        remove_checkpoints(out)
    distributed.wait_for_all()
    return read_record(out / RECORD)


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
