"""Runs that are killed, stopped, or short of disk are resumed to the same bits."""

import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from networks import compiler_needed
from tiny_runs import (
    TINY,
    after_steps,
    assert_same_run,
    killed_after,
    terminate_in,
    tiny,
    train,
)

from faqd_train import files, run_experiment
from faqd_train.cli import INTERRUPTED, main
from faqd_train.runs import record as records
from faqd_train.training import checkpoints
from faqd_train.training.checkpoints import LAST
from faqd_train.training.signals import Interrupted, deferred_signals

# Saved after the second of an epoch's three steps too, so that some resume within an epoch.
OFTEN = ["run.checkpoint_steps=2"]
LONGER = [*OFTEN, "optimizer.epochs=8"]
CHILD = """
import sys
from pathlib import Path
from faqd_train import load_config, run_experiment
print("ready", flush=True)
out, teacher, *overrides = sys.argv[1:]
run_experiment(load_config("digits-ffa", overrides), Path(out), teacher=Path(teacher))
"""
# Holds its folder until it is killed, and says so once it has saved its first checkpoint.
WAITING = CHILD.replace('print("ready", flush=True)', "import time").replace(
    "teacher=Path(teacher))",
    "teacher=Path(teacher), on_epoch=lambda epoch: epoch.epoch == 2 and (\n"
    '    print("ready", flush=True), time.sleep(600)))',
)
SETTINGS = {
    "per channel, blended": [
        "quantization.weights.per_channel=true",
        "quantization.weights.blend=0.1",
    ],
    "bfloat16": ["run.precision=bfloat16", "run.teacher.precision=bfloat16"],
    "warm-up": ["optimizer.warmup_epochs=1"],
    "channels-last": ["run.channels_last=true"],
    "released rules": [
        "quantization.weights.projection=released",
        "quantization.activations.rule=released",
    ],
    "random resized crop": ["data.crop_area=0.5", "data.shift=0", "data.flip=true"],
}


@pytest.fixture(scope="module")
def uninterrupted(teacher, tmp_path_factory):
    """Return the folder of a run without a break, and the seconds it took."""
    folder = tmp_path_factory.mktemp("runs") / "student"
    start = time.perf_counter()
    run(folder, teacher)
    return folder, time.perf_counter() - start


def run(out, teacher, **options):
    return train(out, *LONGER, teacher=teacher, **options)


def command(out, teacher):
    return ["distill", "digits-ffa", *TINY, *LONGER, "--out", str(out), "--teacher", str(teacher)]


def start_child(out, teacher, code=CHILD):
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(out), str(teacher), *TINY, *LONGER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdout.readline() == "ready\n"
    return child


@pytest.mark.parametrize(("count", "seed"), [(3, 0), pytest.param(20, 1, marks=pytest.mark.slow)])
def test_killed_runs_resume_to_the_same_bits(count, seed, teacher, uninterrupted, tmp_path):
    reference, seconds = uninterrupted
    killed = 0
    # One moment in each stretch of the run, so that few moments still cover it.
    for i, u in enumerate(np.random.default_rng(seed).random(count)):
        out = tmp_path / str(i)
        child = start_child(out, teacher)
        time.sleep(seconds * (i + u) / count)
        child.kill()
        child.communicate()
        killed += child.returncode == -signal.SIGKILL
        run(out, teacher, resume=True)
        assert_same_run(out, reference)
    # The child may be faster than the reference was, and be done before the last blow.
    assert killed >= max(count // 2, 1)


@pytest.mark.parametrize("writes", range(1, 17, 3))
def test_a_run_cut_off_after_any_checkpoint_resumes_to_the_same_bits(
    writes, teacher, uninterrupted, tmp_path
):
    with killed_after(writes) as done:
        run(tmp_path, teacher)
    assert done[-1] == (1 + writes // 2, 2 * (writes % 2))
    run(tmp_path, teacher, resume=True)
    assert_same_run(tmp_path, uninterrupted[0])


def test_checkpoints_of_every_third_epoch_are_resumed_to_the_same_bits(
    teacher, uninterrupted, tmp_path
):
    rarely = ["optimizer.epochs=8", "run.checkpoint_epochs=3"]
    with killed_after(2) as done:
        train(tmp_path, *rarely, teacher=teacher)
    assert done == [(4, 0), (7, 0)]
    train(tmp_path, *rarely, teacher=teacher, resume=True)
    ours, theirs = (
        records.read_record(folder / "run.json") for folder in (tmp_path, uninterrupted[0])
    )
    assert ours["weights_sha256"] == theirs["weights_sha256"]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 8


def assert_resumes(settings, teacher, tmp_path):
    train(tmp_path / "whole", *OFTEN, *settings, teacher=teacher)
    with killed_after(3) as done:
        train(tmp_path / "cut", *OFTEN, *settings, teacher=teacher)
    assert done[-1] == (2, 2)
    train(tmp_path / "cut", *OFTEN, *settings, teacher=teacher, resume=True)
    assert_same_run(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_runs_of_every_kind_resume_to_the_same_bits(settings, teacher, tmp_path):
    assert_resumes(settings, teacher, tmp_path)


@pytest.mark.slow
@compiler_needed
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, by torch
def test_a_compiled_run_resumes_to_the_same_bits(teacher, tmp_path):
    assert_resumes(["run.compile=true"], teacher, tmp_path)


def test_a_fine_tuned_run_resumes_to_the_same_bits(teacher, tmp_path):
    train(tmp_path / "start", "quantization.weights=none", teacher=teacher)
    assert_resumes([f'model.init="{tmp_path / "start"}"'], teacher, tmp_path)


def test_a_forgotten_buffer_would_be_noticed(teacher, tmp_path, monkeypatch):
    """The steps of the alternating projection, altered in the checkpoint, change the bits."""
    genuine = checkpoints.Checkpoints.load

    def load(self):
        state = genuine(self)
        if state is not None:
            for name, tensor in state["student"].items():
                if name.endswith(".0.step"):
                    tensor.mul_(1.5)
        return state

    monkeypatch.setattr(checkpoints.Checkpoints, "load", load)
    with pytest.raises(AssertionError):
        assert_resumes(SETTINGS["per channel, blended"], teacher, tmp_path)


def test_a_damaged_last_checkpoint_costs_time_but_no_bit(teacher, uninterrupted, tmp_path, caplog):
    with pytest.raises(Interrupted):
        run(tmp_path, teacher, on_epoch=terminate_in(5))
    content = bytearray((tmp_path / LAST).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / LAST).write_bytes(content)
    run(tmp_path, teacher, resume=True)
    assert "the one before, is used" in caplog.text
    assert_same_run(tmp_path, uninterrupted[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_with_its_own_code(
    number, teacher, uninterrupted, tmp_path, capsys
):
    arguments = command(tmp_path / "run", teacher)
    with after_steps(4, lambda: signal.raise_signal(number)):
        assert main(arguments) == INTERRUPTED == 75
    error = capsys.readouterr().err
    assert error.startswith(f"faqd-train distill: {number.name} came in epoch 2, step 1; the state")
    assert error.endswith("the state is saved: run the same command with --resume to go on.\n")
    assert main(arguments) == 2
    assert "holds an unfinished run; an empty or new folder" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0
    assert_same_run(tmp_path / "run", uninterrupted[0])


def test_a_second_signal_acts_at_once():
    with deferred_signals() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop() == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_full_disk_stops_the_run_in_one_line_and_loses_nothing(
    teacher, uninterrupted, tmp_path, monkeypatch, capsys
):
    genuine, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 9:
            raise OSError(errno.ENOSPC, "No space left on device")
        genuine(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        assert main(command(tmp_path / "run", teacher)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "No space left on device" in error
    assert main([*command(tmp_path / "run", teacher), "--resume"]) == 0
    assert_same_run(tmp_path / "run", uninterrupted[0])


def test_another_configuration_is_not_resumed(teacher, tmp_path):
    with pytest.raises(Interrupted):
        run(tmp_path, teacher, on_epoch=terminate_in(1))
    changed = tiny("digits-ffa", *LONGER, "optimizer.lr=0.05")
    with pytest.raises(
        ValueError, match=r"config\.optimizer\.lr is 0\.05 here and 0\.1 in the checkpoint in"
    ):
        run_experiment(changed, tmp_path, teacher=teacher, resume=True)


def test_a_finished_run_is_resumed_by_reading_it(teacher, tmp_path):
    record = train(tmp_path, teacher=teacher)
    assert train(tmp_path, teacher=teacher, resume=True) == record
    with pytest.raises(ValueError, match="holds a finished run of another configuration"):
        train(tmp_path, "run.seed=1", teacher=teacher, resume=True)
    with pytest.raises(ValueError, match="overwrite and resume are both"):
        train(tmp_path, "run.seed=1", teacher=teacher, resume=True, overwrite=True)
    replaced = train(tmp_path, "run.seed=1", teacher=teacher, overwrite=True)
    assert replaced["weights_sha256"] != record["weights_sha256"]


def test_a_folder_in_use_is_left_alone_and_one_of_a_killed_process_is_not(
    teacher, uninterrupted, tmp_path, capsys
):
    child = start_child(tmp_path / "run", teacher, WAITING)
    arguments = [*command(tmp_path / "run", teacher), "--resume"]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "run is in use, as another process trains there; one at a time is accepted" in error
    assert error.count("\n") == 1
    child.kill()
    child.communicate()
    assert main(arguments) == 0
    assert_same_run(tmp_path / "run", uninterrupted[0])


def test_a_run_that_moves_to_another_machine_says_so_in_one_line(
    teacher, tmp_path, caplog, monkeypatch
):
    with pytest.raises(Interrupted):
        run(tmp_path, teacher, on_epoch=terminate_in(2))
    threads = records.torch.get_num_threads()
    with monkeypatch.context() as patch:
        patch.setattr(records.torch, "get_num_threads", lambda: threads + 1)
        run(tmp_path, teacher, resume=True)
    assert caplog.messages == [
        f"the run in {tmp_path} goes on with threads {threads + 1} (was {threads}): to other bits "
        f"than without a break."
    ]
