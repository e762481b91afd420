"""Runs from their configurations to their folders, alone or side by side in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from faqd_train import data
from faqd_train.config.migration import recorded_config
from faqd_train.config.schema import Config
from faqd_train.networks.adapters import make_adapters
from faqd_train.networks.building import build_network
from faqd_train.networks.precision import find_device
from faqd_train.quantization.activations import activation_steps, calibrate
from faqd_train.quantization.model import weight_levels
from faqd_train.runs.cache import RunCache, inputs_key
from faqd_train.runs.features import capture_features, save_features
from faqd_train.runs.folder import (
    ADAPTERS,
    BEST,
    CURVES,
    FEATURES,
    METRICS,
    RECORD,
    WEIGHTS,
    clear_folder,
    finished_run,
    lock_folder,
    record_divergence,
)
from faqd_train.runs.load import (
    Run,
    check_teacher_accuracy,
    check_teacher_data,
    evaluate,
    identify,
    load_run,
)
from faqd_train.runs.record import (
    SCHEMA,
    Record,
    environment,
    place,
    read_record,
    save_weights,
    write_metrics,
    write_record,
)
from faqd_train.runs.tensorboard import tensorboard_log
from faqd_train.training import distributed
from faqd_train.training.checkpoints import Checkpoints, has_checkpoint, remove_checkpoints
from faqd_train.training.compiling import check_compiling
from faqd_train.training.divergence import TrainingDiverged
from faqd_train.training.loop import Training, accuracy, advance
from faqd_train.training.seeds import make_streams
from faqd_train.training.signals import Interrupted, Stop, deferred_signals
from faqd_train.training.state import Epoch, TrainingState
from faqd_train.training.task import Task, check_teacher
from faqd_train.training.teacher import CALIBRATION_IMAGES, TeacherPass, make_teacher_pass

OnEpoch = Callable[[Epoch], None]


@dataclass(frozen=True)
class Setting:
    """Where runs train, what they share, and how they are asked to stop."""

    device: torch.device
    teacher_run: Path | None
    resume: bool
    overwrite: bool
    taps: tuple[str, ...] = ()  # of the teacher, that any of the runs needs
    cache: RunCache = field(default_factory=RunCache)
    stop: Stop = lambda: None


def run_experiment(
    config: Config,
    out: Path,
    *,
    teacher: Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    device: str = "cpu",
    on_epoch: OnEpoch | None = None,
) -> Record:
    """Train the network of a configuration and leave a folder that describes all of it.

    Parameters
    ----------
    config : Config
        From `load_config`.
    out : Path
        Folder to write: ``run.json``, ``metrics.jsonl`` (one line for each epoch, as it ends),
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
        _setting([config], device, teacher, resume=resume, overwrite=overwrite) as setting,
        _OpenRun(out, config, setting, on_epoch) as run,
    ):
        while (record := run.step()) is None:
            pass
        return record


def run_together(
    runs: Mapping[Path, Config],
    *,
    teacher: Path | None,
    resume: bool = False,
    device: str = "cpu",
    time_budget: float | None = None,
) -> dict[Path, Record | Exception]:
    """Train students of one teacher side by side, a step of each in turn.

    Students that see the same batches share the teacher's pass over each: those of one
    ``run.data_seed`` (or ``run.seed``) and batch size, whose settings of ``data`` (but for
    ``labels``), ``run.teacher``, ``run.channels_last``, ``run.compile``, ``run.cuda_graph``, and
    with a folded teacher its taps are the same. Their bits, objectives and whatever else may
    differ. The others have passes of their own.

    Parameters
    ----------
    runs : mapping of Path to Config
        A configuration for each folder to write.
    teacher, resume, device
        As in `run_experiment`, for all of them.
    time_budget : float, optional
        Seconds, after which all of them stop as at a signal, with their states saved.

    Returns
    -------
    dict
        For each folder what `run_experiment` would return, or what it would raise: a run that
        fails leaves the others to go on, and a signal stops all of them.

    Notes
    -----
    Each run leaves what it leaves alone: on CPU to the bit, but for the times. Its seconds are
    those of its own steps, with the teacher's passes that were taken in them. All the networks
    and their optimizers are in memory at once, on a CPU the activations of one student at a time.
    """
    kept = (TrainingDiverged, Interrupted, ValueError, OSError)
    results: dict[Path, Record | Exception] = {}
    live: dict[Path, _OpenRun] = {}
    end = None if time_budget is None else time.monotonic() + time_budget
    configs = list(runs.values())
    with _setting(configs, device, teacher, resume=resume, overwrite=False, end=end) as setting:
        try:
            for out, config in runs.items():
                try:
                    live[out] = _OpenRun(out, config, setting)
                except kept as error:
                    results[out] = error.with_traceback(None)  # its frames would keep the networks
            while live:
                # The run that is furthest behind: those that start together stay side by side,
                # and one that is resumed further on waits until the others have come as far.
                out = min(live, key=lambda out: live[out].position)
                try:
                    record = live[out].step()
                    if record is None:
                        continue
                    results[out] = record
                except kept as error:
                    results[out] = error.with_traceback(None)
                live.pop(out).close()
        finally:
            for run in live.values():
                run.close()
    return {out: results[out] for out in runs}


@contextmanager
def _setting(
    configs: Sequence[Config],
    device: str,
    teacher_run: Path | None,
    *,
    resume: bool,
    overwrite: bool,
    end: float | None = None,
) -> Iterator[Setting]:
    with (
        deferred_signals() as stop,
        distributed.processes(find_device(device)) as own_device,
        RunCache() as cache,
    ):
        asked = stop if end is None else partial(_stop_at, end, stop)
        taps = dict.fromkeys(tap for c in configs for tap in c.objective.teacher_tapped)
        yield Setting(own_device, teacher_run, resume, overwrite, tuple(taps), cache, asked)


def _stop_at(end: float, stop: Stop) -> str | None:
    return stop() or ("the end of the time budget" if time.monotonic() > end else None)


class _OpenRun:
    """A run in progress: its folder is locked, and left as the run left it."""

    def __init__(
        self, out: Path, config: Config, setting: Setting, on_epoch: OnEpoch | None = None
    ) -> None:
        self._out, self._config, self._setting = out, config, setting
        self._on_epoch = on_epoch
        self._started = datetime.now(UTC)
        self._closing = ExitStack()
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> _OpenRun:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the folder and the networks' hooks."""
        self._closing.close()

    @property
    def position(self) -> tuple[int, int]:
        """The epoch in progress and the steps done in it."""
        return self._training.position if self._finished is None else (0, 0)

    def step(self) -> Record | None:
        """Take one step; return the record once the run is finished."""
        if self._finished is not None:
            return self._finished
        try:
            if not self._training.is_done:
                advance(self._training, on_epoch=self._end_epoch, stop=self._setting.stop)
            # Results come right after the last step, before other runs have their turn.
            return self._finish() if self._training.is_done else None
        except TrainingDiverged as error:
            if distributed.is_main():
                record_divergence(self._out, self._config, error)
            raise

    def _open(self) -> None:
        out, config, setting = self._out, self._config, self._setting
        self._closing.enter_context(
            lock_folder(out) if distributed.is_main() else nullcontext(),
        )
        self._finished = finished_run(
            out, config, overwrite=setting.overwrite, resume=setting.resume
        )
        if self._finished is not None:
            return
        wanted = config.run.tensorboard and distributed.is_main()
        self._draw = self._closing.enter_context(tensorboard_log(out / CURVES, wanted=wanted))
        check_teacher(setting.teacher_run, config.objective)
        if config.run.compile:
            check_compiling(setting.device)
        self._shared = shared = load_shared(config, setting)
        start = load_run(config.model.init) if config.model.init is not None else None
        self._task = _make_task(config, shared, setting.device, start)
        self._content = {
            "train_sha256": data.fingerprint(shared.images),
            "train": len(shared.images),
        }
        self._identity = {
            "config": config.settings(),
            "data": self._content,
            "init": identify(start) if start else None,
            "teacher": identify(shared.teacher) if shared.teacher else None,
        }
        if distributed.is_main():
            clear_folder(out, resume=setting.resume)
            if not has_checkpoint(out):
                self._capture("before")
        distributed.wait_for_all()
        checkpoints = Checkpoints(
            out,
            self._identity,
            setting.resume,
            config.run.checkpoint_epochs,
            config.run.checkpoint_steps,
            place=place(setting.device, distributed.process_count()),
            upgrade=_upgrade,
        )
        self._training = self._closing.enter_context(Training(self._task, config, checkpoints))

    def _end_epoch(self, epoch: Epoch) -> None:
        if epoch.epoch in self._config.run.capture_epochs:
            self._capture(f"epoch{epoch.epoch}")
        if distributed.is_main():
            write_metrics(self._out / METRICS, asdict(epoch))
        self._draw(epoch)
        if self._on_epoch:
            self._on_epoch(epoch)

    def _capture(self, moment: str) -> None:
        """Save the maps of some validation images, if the configuration asks for it."""
        teacher, objective = self._shared.teacher, self._config.objective
        count = self._config.run.capture
        if teacher is None or not count or not distributed.is_main():
            return
        inputs = self._shared.prepare(self._shared.validation[:count], None)
        save_features(
            self._out / FEATURES.format(moment=moment),
            student=capture_features(
                self._task.student, inputs, objective.taps, adapters=self._task.adapters
            ),
            teacher=capture_features(teacher.network, inputs, objective.teacher_tapped),
        )

    def _finish(self) -> Record:
        if distributed.is_main():
            self._capture("after")
            shared, state = self._shared, self._training.state
            record: Record = {
                "schema": SCHEMA,
                "started": self._started.isoformat(timespec="seconds"),
                **self._identity,
                "config": self._config.model_dump(mode="json"),
                "data": self._content | {"validation": len(shared.validation)},
                "teacher_pass": shared.teacher_pass.describe() if shared.teacher_pass else None,
                "environment": environment(self._setting.device, distributed.process_count()),
                "epochs": [asdict(epoch) for epoch in state.history],
                "seconds": sum(epoch.seconds for epoch in state.history),
            }
            record |= _results(self._out, self._task, self._config, state)
            write_record(self._out / RECORD, record)  # last: a folder with it is a finished run
            remove_checkpoints(self._out)
        distributed.wait_for_all()
        return read_record(self._out / RECORD)


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
    cache, device, key = setting.cache, setting.device, inputs_key(config)
    teacher_run = setting.teacher_run
    teacher = None
    if teacher_run is not None:
        load = partial(_load_teacher, teacher_run, config, device)
        teacher = cache.once(("teacher", teacher_run, key), load)
    prepare = data.load_preparation(config.data)
    images = cache.once(
        ("train", key),
        lambda: data.load_images(config.data, "train")[: config.data.limit].to(device),
    )
    teacher_pass = None
    if teacher:
        sample = partial(prepare, images[:CALIBRATION_IMAGES])
        taps = setting.taps if config.run.cuda_graph else None
        make = partial(make_teacher_pass, teacher.network, config, sample, taps)
        teacher_pass = cache.once(("pass", teacher_run, key), lambda: cache.enter_context(make()))
    validation = cache.once(
        ("validation", key), lambda: data.load_images(config.data, "validation").to(device)
    )
    return Shared(prepare, images, validation, teacher, teacher_pass)


def _upgrade(identity: Record) -> Record:
    """Return the identity in a checkpoint of any version with the present settings."""
    return identity | {"config": recorded_config(identity["config"]).settings()}


def _load_teacher(folder: Path, config: Config, device: torch.device) -> Run:
    """Read a teacher's run, and test it again."""
    teacher = load_run(folder)
    check_teacher_data(teacher, config)
    teacher.network.to(device)
    check_teacher_accuracy(teacher, config)
    return teacher


def _make_task(config: Config, shared: Shared, device: torch.device, start: Run | None) -> Task:
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


def _results(out: Path, task: Task, config: Config, state: TrainingState) -> Record:
    """Test the last weights and the best ones, and write both; the network ends with the best."""
    network, adapters = task.student, task.adapters
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
