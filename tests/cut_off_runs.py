"""Whole runs in their folders: how they are cut off, and when two of them are the same."""

import json

import torch
from safetensors.torch import load_file

from faqd_train.runs import record as records
from faqd_train.training.checkpoints import has_checkpoint


def without_time(record):
    """Drop clock times from a record."""
    epochs = [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in record["epochs"]]
    return {k: v for k, v in record.items() if k not in ("seconds", "started")} | {"epochs": epochs}


def assert_same_run(out, reference):
    """All weights bit by bit, the record, and one metrics line an epoch."""
    for name in ("weights", "best", "adapters"):
        ours, theirs = (load_file(folder / f"{name}.safetensors") for folder in (out, reference))
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    record, expected = (records.read_record(folder / "run.json") for folder in (out, reference))
    assert without_time(record) == without_time(expected)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert lines == record["epochs"]
    assert not has_checkpoint(out)


class Killed(BaseException):
    """Ends a run where it stands, as a kill would."""
