"""Runs from their configurations to their folders, alone or side by side in one process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import torch

from faqd_train.config.schema import Config
from faqd_train.networks.precision import find_device
from faqd_train.runs.common import Common
from faqd_train.runs.folder import CURVES, METRICS, claimed, finished_run, record_divergence
from faqd_train.runs.one_run import train_in
from faqd_train.runs.record import Record, write_metrics
from faqd_train.runs.tensorboard import tensorboard_log
from faqd_train.training import distributed
from faqd_train.training.divergence import TrainingDiverged
from faqd_train.training.signals import Interrupted, Stop, deferred_signals
from faqd_train.training.state import Epoch
from faqd_train.training.turns import Turns, finish, take_turns


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
        Common() as common,
    ):
        return finish(
            _keep_folder(
                out,
                config,
                teacher=teacher,
                overwrite=overwrite,
                resume=resume,
                device=own_device,
                on_epoch=on_epoch,
                stop=stop,
                common=common,
            )
        )


def run_together(
    runs: Mapping[Path, Config],
    *,
    teacher: Path | None,
    resume: bool = False,
    device: str = "cpu",
) -> dict[Path, Record | Exception]:
    """Train students of one teacher side by side, a step of each in turn.

    Students that see the same batches share the teacher's pass over each: those of one
    ``run.data_seed`` (or ``run.seed``) and batch size, whose settings of ``data`` (but for
    ``labels``), ``run.teacher``, ``run.channels_last``, ``run.compile``, and with a folded teacher
    its taps are the same. Their bits, objectives and whatever else
    may differ. The others have passes of their own.

    Parameters
    ----------
    runs : mapping of Path to Config
        A configuration for each folder to write.
    teacher, resume, device
        As in `run_experiment`, for all of them.

    Returns
    -------
    dict
        For each folder what `run_experiment` would return, or what it would raise: a run that
        fails leaves the others to go on, and a signal stops all of them.

    Notes
    -----
    Each run leaves what it leaves alone: on CPU to the bit, but for the times. Its seconds are
    those of its own turns, with the teacher's passes that were taken in them. All the networks
    and their optimizers are in memory at once, the activations of one student at a time.
    """
    with (
        deferred_signals() as stop,
        distributed.processes(find_device(device)) as own_device,
        Common() as common,
    ):
        turns = {
            out: _keep_folder(
                out,
                config,
                teacher=teacher,
                overwrite=False,
                resume=resume,
                device=own_device,
                on_epoch=None,
                stop=stop,
                common=common,
            )
            for out, config in runs.items()
        }
        kept = (TrainingDiverged, Interrupted, ValueError, OSError)
        ended = dict(take_turns(turns, kept))
    return {out: ended[out] for out in runs}


def _keep_folder(
    out: Path,
    config: Config,
    *,
    teacher: Path | None,
    overwrite: bool,
    resume: bool,
    device: torch.device,
    on_epoch: Callable[[Epoch], None] | None,
    stop: Stop,
    common: Common,
) -> Turns[Record]:
    """Keep other processes out of a run's folder, and leave there how it went."""
    with claimed(out) if distributed.is_main() else nullcontext():
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
                return (
                    yield from train_in(
                        out,
                        config,
                        teacher=teacher,
                        resume=resume,
                        device=device,
                        on_epoch=log,
                        stop=stop,
                        common=common,
                    )
                )
            except TrainingDiverged as error:
                if distributed.is_main():
                    record_divergence(out, config, error)
                raise
