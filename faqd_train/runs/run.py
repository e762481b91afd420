"""Runs from their configurations to their folders, alone or side by side in one process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from faqd_train.config.schema import Config
from faqd_train.networks.precision import find_device
from faqd_train.runs.cache import RunCache
from faqd_train.runs.inputs import Setting
from faqd_train.runs.open_run import OnEpoch, OpenRun
from faqd_train.runs.record import Record
from faqd_train.training import distributed
from faqd_train.training.divergence import TrainingDiverged
from faqd_train.training.signals import Interrupted, Stop, deferred_signals


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
        OpenRun(out, config, setting, on_epoch) as run,
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
    live: dict[Path, OpenRun] = {}
    end = None if time_budget is None else time.monotonic() + time_budget
    configs = list(runs.values())
    with _setting(configs, device, teacher, resume=resume, overwrite=False, end=end) as setting:
        try:
            for out, config in runs.items():
                try:
                    live[out] = OpenRun(out, config, setting)
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
        stops = stop if end is None else partial(_stop_at, end, stop)
        taps = dict.fromkeys(tap for c in configs for tap in c.objective.teacher_tapped)
        yield Setting(own_device, teacher_run, resume, overwrite, tuple(taps), cache, stops)


def _stop_at(end: float, stop: Stop) -> str | None:
    return stop() or ("the end of the time budget" if time.monotonic() > end else None)
