"""Tiny runs on the digits: their settings, how they are cut off, and when two are the same."""

import json
import signal
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import load_file

from faqd_train import load_config, run_experiment
from faqd_train.runs.record import read_record
from faqd_train.training.checkpoints import Checkpoints, has_checkpoint
from faqd_train.training.loop import Training
from faqd_train.training.seeds import make_streams
from faqd_train.training.task import Task

# Three steps per epoch, for two epochs.
TINY = ["data.limit=60", "model.widths=[4, 4, 8]", "optimizer.batch_size=20", "optimizer.epochs=2"]


def tiny(name, *settings):
    return load_config(name, [*TINY, *settings])


def train(out, *settings, name="digits-ffa", **options):
    return run_experiment(tiny(name, *settings), out, **options)


def as_given(images, _generator):
    return images


def training(config, student, images, *, prepare=as_given, streams=None, checkpoints=None, **task):
    """Return a training of random images; what else its task holds is given by name."""
    task = Task(student, images, prepare, streams or make_streams(config.run.seed), **task)
    return Training(task, config, checkpoints)


class Killed(BaseException):
    """Ends a run where it stands, as a kill would."""


@contextmanager
def killed_after(writes):
    """End a run once it has written so many checkpoints; yield epoch and step of each."""
    genuine, done = Checkpoints.save, []

    def save(self, state):
        genuine(self, state)
        done.append((state["epoch"], state["batches"]))
        if len(done) == writes:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save", save)
        try:
            yield done
        except Killed:
            return
    raise AssertionError(f"the run ended by itself, after {len(done)} checkpoints")


@contextmanager
def after_steps(steps, action):
    """Call a function once, when all runs together have taken so many steps."""
    genuine, taken = Training.step, []

    def step(self):
        record = genuine(self)
        taken.append(self)
        if len(taken) == steps:
            action()
        return record

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "step", step)
        yield


def terminate():
    signal.raise_signal(signal.SIGTERM)


def terminate_in(epoch):
    """Return a listener to epochs that sends SIGTERM at the end of one."""
    return lambda record: record.epoch == epoch and terminate()


def without_time(record):
    """Drop clock times from a record."""
    epochs = [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in record["epochs"]]
    return {k: v for k, v in record.items() if k not in ("seconds", "started")} | {"epochs": epochs}


def same_tensors(ours, theirs):
    """Compare two files of weights, to the bit."""
    ours, theirs = load_file(ours), load_file(theirs)
    return list(ours) == list(theirs) and all(torch.equal(ours[key], theirs[key]) for key in ours)


def assert_same_run(out, reference):
    """Compare files, weights to the bit, the record, and the metrics, one line per epoch."""
    assert {path.name for path in out.iterdir()} == {path.name for path in reference.iterdir()}
    for path in reference.glob("*.safetensors"):
        assert same_tensors(out / path.name, path), path
    record, expected = (read_record(folder / "run.json") for folder in (out, reference))
    assert without_time(record) == without_time(expected)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert lines == record["epochs"]
    assert not has_checkpoint(out)
