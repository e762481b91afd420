"""What a run finds in its folder, and what of it stays."""

from __future__ import annotations

import shutil
from pathlib import Path

from faqd_train.checkpoints import has_checkpoint, remove_checkpoints
from faqd_train.config import Config
from faqd_train.config_files import check_config
from faqd_train.records import Record, read_record

RECORD, METRICS = "run.json", "metrics.jsonl"
WEIGHTS, BEST = "weights.safetensors", "best.safetensors"
ADAPTERS = "adapters.safetensors"
CURVES = "tensorboard"


def finished_run(out: Path, config: Config, *, overwrite: bool, resume: bool) -> Record | None:
    """Return the record of the finished run that is resumed, or None if there is work to do.

    Raises
    ------
    ValueError
        If the folder holds a run that was not to be resumed or overwritten, or a finished one of
        another configuration.
    """
    if overwrite and resume:
        raise ValueError(
            "overwrite and resume are both asked for; one of them is accepted: resume goes on "
            "with the run in the folder, overwrite deletes it."
        )
    if overwrite:
        return None
    if not (out / RECORD).exists():
        if has_checkpoint(out) and not resume:
            raise ValueError(
                f"{out} holds an unfinished run; an empty or new folder is accepted: choose "
                f"another, or ask to resume or to overwrite it."
            )
        return None
    if not resume:
        raise ValueError(
            f"{out} holds a finished run; an empty or new folder is accepted: choose another, or "
            f"ask to overwrite it."
        )
    record = read_record(out / RECORD)
    if check_config(record["config"]).settings() != config.settings():
        raise ValueError(
            f"{out} holds a finished run of another configuration, which cannot be resumed: choose "
            f"another folder, or ask to overwrite it."
        )
    return record


def clear_folder(out: Path, *, resume: bool) -> None:
    """Make the folder, and take away what another run left; from here on it is unfinished."""
    out.mkdir(parents=True, exist_ok=True)
    if not resume:
        for name in (RECORD, METRICS, WEIGHTS, BEST, ADAPTERS):
            (out / name).unlink(missing_ok=True)
        shutil.rmtree(out / CURVES, ignore_errors=True)
        remove_checkpoints(out)
