"""Runs that are killed, stopped, or short of disk go on to the same bits."""

import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from cut_off_runs import Killed, assert_same_run

from faqd_train import load_config, run_experiment
from faqd_train.cli import INTERRUPTED, main
from faqd_train.runs import record as records
from faqd_train.training import checkpoints
from faqd_train.training.checkpoints import LAST, read_newest
from faqd_train.training.signals import Interrupted, deferred_signals

TINY = ["data.limit=60", "model.widths=[4, 4, 8]", "optimizer.batch_size=20", "optimizer.epochs=2"]
# Saved after every second of an epoch's three steps, so that resumes begin within epochs too.
LONGER = [*TINY, "optimizer.epochs=8", "run.checkpoint_steps=2"]
CHILD = """
import sys
from pathlib import Path
from faqd_train import load_config, run_experiment
print("ready", flush=True)
out, teacher, *overrides = sys.argv[1:]
run_experiment(load_config("digits-ffa", overrides), Path(out), teacher=Path(teacher))
"""
# Has its folder until it is killed, and says so once it has saved its first checkpoint.
WAITING = CHILD.replace('print("ready", flush=True)', "import time").replace(
    "teacher=Path(teacher))",
    "teacher=Path(teacher), on_epoch=lambda epoch: epoch.epoch == 2 and (\n"
    '    print("ready", flush=True), time.sleep(600)))',
)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "teacher"
    run_experiment(load_config("digits-teacher", TINY), folder)
    return folder


@pytest.fixture(scope="module")
def uninterrupted(teacher, tmp_path_factory):
    """Return the folder of a run without a break, and the seconds it took."""
    folder = tmp_path_factory.mktemp("runs") / "student"
    start = time.perf_counter()
    run(folder, teacher)
    return folder, time.perf_counter() - start


def run(out, teacher, **options):
    return run_experiment(load_config("digits-ffa", LONGER), out, teacher=teacher, **options)


def start_child(out, teacher, code=CHILD):
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(out), str(teacher), *LONGER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdout.readline() == "ready\n"
    return child


def kill_and_resume(count, seed, teacher, uninterrupted, tmp_path):
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


def test_three_killed_runs_resume_to_the_same_bits(teacher, uninterrupted, tmp_path):
    kill_and_resume(3, 0, teacher, uninterrupted, tmp_path)


@pytest.mark.slow
def test_twenty_killed_runs_resume_to_the_same_bits(teacher, uninterrupted, tmp_path):
    kill_and_resume(20, 1, teacher, uninterrupted, tmp_path)


@pytest.mark.parametrize("writes", range(1, 17, 3))
def test_a_run_cut_off_after_any_checkpoint_resumes_to_the_same_bits(
    writes, teacher, uninterrupted, tmp_path, monkeypatch
):
    genuine, done = checkpoints.Checkpoints.save, []

    def save(self, state):
        genuine(self, state)
        done.append((state["epoch"], state["batches"]))
        if len(done) == writes:
            raise Killed

    monkeypatch.setattr(checkpoints.Checkpoints, "save", save)
    with pytest.raises(Killed):
        run(tmp_path, teacher)
    assert done[-1] == (1 + writes // 2, 2 * (writes % 2))
    run(tmp_path, teacher, resume=True)
    assert_same_run(tmp_path, uninterrupted[0])


def test_a_damaged_last_checkpoint_costs_time_but_no_bit(teacher, uninterrupted, tmp_path, caplog):
    with pytest.raises(Interrupted):
        run(tmp_path, teacher, on_epoch=lambda epoch: epoch.epoch == 5 and terminate())
    content = bytearray((tmp_path / LAST).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / LAST).write_bytes(content)
    run(tmp_path, teacher, resume=True)
    assert "the one before, is used" in caplog.text
    assert_same_run(tmp_path, uninterrupted[0])


def test_every_changed_byte_of_a_checkpoint_is_noticed_and_the_one_before_is_used(
    teacher, tmp_path
):
    with pytest.raises(Interrupted):
        run(tmp_path, teacher, on_epoch=lambda epoch: epoch.epoch == 2 and terminate())
    content, rng = (tmp_path / LAST).read_bytes(), np.random.default_rng(2)
    assert read_newest(tmp_path)["state"]["batches"] == 1  # that of the one before is 0
    for place in rng.choice(len(content), 200, replace=False):
        altered = bytearray(content)
        altered[place] ^= rng.integers(1, 256)
        (tmp_path / LAST).write_bytes(altered)
        assert read_newest(tmp_path)["state"]["batches"] == 0


def terminate():
    signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_with_its_own_code(
    number, teacher, uninterrupted, tmp_path, monkeypatch, capsys
):
    genuine = checkpoints.Checkpoints.due

    def due(self, step):
        if (step, len(sent)) == (3, 0):
            sent.append(number)
            signal.raise_signal(number)
        return genuine(self, step)

    sent = []
    monkeypatch.setattr(checkpoints.Checkpoints, "due", due)
    command = ["distill", "digits-ffa", *LONGER, "--out", str(tmp_path / "run")]
    command += ["--teacher", str(teacher)]
    assert main(command) == INTERRUPTED == 75
    error = capsys.readouterr().err
    assert error.startswith(f"faqd-train distill: {number.name} came in epoch ")
    assert error.endswith("the state is saved: run the same command with --resume to go on.\n")
    assert main(command) == 2
    assert "holds an unfinished run; an empty or new folder" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
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

    command = ["distill", "digits-ffa", *LONGER, "--out", str(tmp_path / "run")]
    command += ["--teacher", str(teacher)]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert main(command) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "No space left on device" in error
    assert main([*command, "--resume"]) == 0
    assert_same_run(tmp_path / "run", uninterrupted[0])


def test_another_configuration_is_not_resumed(teacher, tmp_path):
    with pytest.raises(Interrupted):
        run(tmp_path, teacher, on_epoch=lambda _: terminate())
    changed = load_config("digits-ffa", [*LONGER, "optimizer.lr=0.05"])
    with pytest.raises(
        ValueError, match=r"config\.optimizer\.lr is 0\.05 here and 0\.1 in the checkpoint in"
    ):
        run_experiment(changed, tmp_path, teacher=teacher, resume=True)


def test_a_finished_run_is_resumed_by_reading_it(teacher, tmp_path):
    config = load_config("digits-ffa", TINY)
    record = run_experiment(config, tmp_path, teacher=teacher)
    again = run_experiment(config, tmp_path, teacher=teacher, resume=True)
    assert again == record
    other = load_config("digits-ffa", [*TINY, "run.seed=1"])
    with pytest.raises(ValueError, match="holds a finished run of another configuration"):
        run_experiment(other, tmp_path, teacher=teacher, resume=True)
    with pytest.raises(ValueError, match="overwrite and resume are both asked for"):
        run_experiment(other, tmp_path, teacher=teacher, resume=True, overwrite=True)
    replaced = run_experiment(other, tmp_path, teacher=teacher, overwrite=True)
    assert replaced["weights_sha256"] != record["weights_sha256"]


def test_a_folder_in_use_is_left_alone_and_one_of_a_killed_process_is_not(
    teacher, uninterrupted, tmp_path, capsys
):
    child = start_child(tmp_path / "run", teacher, WAITING)
    command = ["distill", "digits-ffa", *LONGER, "--out", str(tmp_path / "run"), "--resume"]
    command += ["--teacher", str(teacher)]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "run is in use, as another process trains there; one at a time is accepted" in error
    assert error.count("\n") == 1
    child.kill()
    child.communicate()
    assert main(command) == 0
    assert_same_run(tmp_path / "run", uninterrupted[0])


def test_a_change_of_place_is_told_in_one_line(teacher, tmp_path, caplog, monkeypatch):
    with pytest.raises(Interrupted):
        run(tmp_path, teacher, on_epoch=lambda epoch: epoch.epoch == 2 and terminate())
    threads = records.torch.get_num_threads()
    with monkeypatch.context() as patch:
        patch.setattr(records.torch, "get_num_threads", lambda: threads + 1)
        run(tmp_path, teacher, resume=True)
    assert caplog.messages == [
        f"the run in {tmp_path} goes on with threads {threads + 1} (was {threads}): to other bits "
        f"than without a break."
    ]
