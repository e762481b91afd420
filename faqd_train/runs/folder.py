"""What a run finds in its folder, what of it stays, and that no other run writes there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from faqd_train.config.files import check_config
from faqd_train.config.schema import Config
from faqd_train.runs.record import SCHEMA, Record, read_record, write_record
from faqd_train.training.checkpoints import has_checkpoint, remove_checkpoints
from faqd_train.training.divergence import TrainingDiverged

RECORD, METRICS = "run.json", "metrics.jsonl"
DIVERGED = "diverged.json"
WEIGHTS, BEST = "weights.safetensors", "best.safetensors"
ADAPTERS = "adapters.safetensors"
FEATURES = "features_{moment}.npz"  # before, after, epoch12
CURVES = "tensorboard"
LOCK = ".lock"  # empty, and stays: another process may be about to take it


class FolderInUse(ValueError):
    """Another process trains in the folder."""


@contextmanager
def lock_folder(out: Path) -> Iterator[None]:
    """Make a run's folder and keep other processes out; if nothing is written, remove it.

    The lock is the system's, which a process that is killed does not leave behind.

    Raises
    ------
    FolderInUse
        If another process, or another thread, trains in the folder.
    """
    is_new = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise FolderInUse(
            f"{out} is in use, as another process trains there; one at a time is accepted: wait "
            f"for its end, or choose another folder."
        ) from None
    try:
        yield
    finally:
        if is_new and [path.name for path in out.iterdir()] == [LOCK]:
            with suppress(OSError):  # another process has come, or the system keeps an open file
                (out / LOCK).unlink()
                out.rmdir()
        lock.release()


def finished_run(out: Path, config: Config, *, overwrite: bool, resume: bool) -> Record | None:
    """Return the record of the finished run that is resumed, or None if there is work to do.

    Raises
    ------
    ValueError
        If the folder holds a run that was not to be resumed or overwritten, or one of another
        configuration that is finished or has diverged.
    TrainingDiverged
        If the run that is resumed has diverged: it would do so again.
    """
    if overwrite and resume:
        raise ValueError(
            "overwrite and resume are both given; one of them is accepted: resume continues the "
            "run in the folder, overwrite deletes it."
        )
    if overwrite:
        return None
    finished, diverged = (out / RECORD).exists(), (out / DIVERGED).exists()
    held = "a finished" if finished else "a diverged" if diverged else "an unfinished"
    if not resume and (finished or diverged or has_checkpoint(out)):
        also = "" if finished or diverged else "to resume or "
        raise ValueError(
            f"{out} holds {held} run; an empty or new folder is accepted: choose another, or ask "
            f"{also}to overwrite it."
        )
    if not finished and not diverged:
        return None
    record = (
        read_record(out / RECORD) if finished else read_record(out / DIVERGED, ("config", "reason"))
    )
    if check_config(record["config"]).settings() != config.settings():
        raise ValueError(
            f"{out} holds {held} run of another configuration, which cannot be resumed: choose "
            f"another folder, or ask to overwrite it."
        )
    if not finished:
        raise TrainingDiverged(
            f"{record['reason'].rstrip('.')}, as {out / DIVERGED} says; delete the folder, or "
            f"ask to overwrite it, to train it again."
        )
    return record


def record_divergence(out: Path, config: Config, error: TrainingDiverged) -> None:
    """Leave the diagnosis in the run's folder, so that resuming does not try it again."""
    record = {"schema": SCHEMA, "config": config.model_dump(mode="json"), "reason": str(error)}
    write_record(out / DIVERGED, record)


def clear_folder(out: Path, *, resume: bool) -> None:
    """Take away what another run left, unless it is gone on with; from here on it is unfinished."""
    if resume and has_checkpoint(out):
        return
    for name in (RECORD, DIVERGED, METRICS, WEIGHTS, BEST, ADAPTERS):
        (out / name).unlink(missing_ok=True)
    for path in out.glob(FEATURES.format(moment="*")):
        path.unlink()
    for path in out.glob(".*.part"):  # of a process that was killed while it wrote
        path.unlink()
    shutil.rmtree(out / CURVES, ignore_errors=True)
    remove_checkpoints(out)
