"""One run in progress in its folder, from the first look at it to its record."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from faqd_train import data
from faqd_train.config.files import check_config
from faqd_train.config.schema import Config
from faqd_train.quantization.activations import activation_steps
from faqd_train.quantization.model import weight_levels
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
from faqd_train.runs.inputs import Setting, load_shared, make_task
from faqd_train.runs.load import check_start, evaluate, identify, load_run
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
from faqd_train.training.graphs import check_graphs
from faqd_train.training.loop import Training, advance
from faqd_train.training.state import Epoch, TrainingState
from faqd_train.training.task import Task, check_teacher

OnEpoch = Callable[[Epoch], None]


class OpenRun:
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

    def __enter__(self) -> OpenRun:
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
        check_graphs(config.run.cuda_graph, setting.device)
        if config.run.compile:
            check_compiling(setting.device)
        self._shared = shared = load_shared(config, setting)
        start = None
        if config.model.init is not None:
            start = load_run(config.model.init)
            check_start(start, config)
        self._task = make_task(config, shared, setting.device, start)
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
        """Save the maps of some validation images, if the configuration says so."""
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


def _upgrade(identity: Record) -> Record:
    """Return the identity in a checkpoint with the settings that were added since."""
    return identity | {"config": check_config(identity["config"]).settings()}
