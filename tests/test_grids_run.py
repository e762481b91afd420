"""Grids are trained once: finished runs are skipped, interrupted ones gone on with."""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time

import joblib
import pytest
from tiny_runs import without_time

from faqd_train import load_config
from faqd_train.cli import main
from faqd_train.grids import run as grid_runs
from faqd_train.grids.expand import load_grid
from faqd_train.grids.run import run_grid, side_by_side
from faqd_train.runs.cache import batches_key
from faqd_train.runs.folder import lock_folder
from faqd_train.runs.record import read_record
from faqd_train.runs.run import run_experiment
from faqd_train.training.signals import Interrupted

TINY = ["data.limit=50", "optimizer.epochs=1", "teacher.optimizer.epochs=1"]


def tiny_grid(out, *settings, name="digits-fa,digits-qat"):
    return load_grid(name, [*settings, *TINY], out=out, teacher="digits-teacher")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Train a grid of two seeds, not to be changed."""
    out = tmp_path_factory.mktemp("grid")
    return out, run_grid(tiny_grid(out, "run.seed=0,1"))


def weights(outcomes):
    return {outcome.run.name: outcome.record["weights_sha256"] for outcome in outcomes}


def test_a_grid_trains_what_single_runs_train(tmp_path, finished):
    out, outcomes = finished
    assert [outcome.state for outcome in outcomes] == ["finished"] * 5
    config = load_config("digits-fa", ["run.seed=1", "data.limit=50", "optimizer.epochs=1"])
    teacher = out / "digits-teacher-limit=50-epochs=1"
    record = run_experiment(config, tmp_path / "single", teacher=teacher)
    name = "digits-fa-seed=1-limit=50-epochs=1-teacher-epochs=1"
    assert record["weights_sha256"] == weights(outcomes)[name]


def test_finished_runs_are_not_trained_again(finished, monkeypatch):
    out, outcomes = finished

    def forbidden(*_arguments, **_options):
        raise AssertionError("a run is trained")

    monkeypatch.setattr(grid_runs, "run_experiment", forbidden)
    assert weights(run_grid(tiny_grid(out, "run.seed=0,1"))) == weights(outcomes)
    with pytest.raises(AssertionError, match="a run is trained"):  # the check can fail
        run_grid(tiny_grid(out, "run.seed=2"))


def test_runs_of_another_teacher_are_refused(tmp_path):
    run_grid(tiny_grid(tmp_path, name="digits-fa"))
    teacher = tmp_path / "digits-teacher-limit=50-epochs=1"
    config = load_config("digits-teacher", ["data.limit=50", "optimizer.epochs=1", "run.seed=9"])
    run_experiment(config, teacher, overwrite=True)
    record = read_record(teacher / "run.json")
    record["config"]["run"]["seed"] = 0  # as if the old teacher had come out differently
    (teacher / "run.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"finished run with other weights of its teacher than"):
        run_grid(tiny_grid(tmp_path, name="digits-fa"))


def test_a_folder_of_another_configuration_is_refused(tmp_path, finished):
    _, outcomes = finished
    (run,) = load_grid("digits-qat", out=tmp_path)
    run.folder.mkdir()
    (run.folder / "run.json").write_text(json.dumps(outcomes[-1].record))
    with pytest.raises(ValueError, match="holds a finished run of another configuration"):
        run_grid([run])


def test_a_run_that_diverges_stops_only_those_that_need_it(tmp_path, capsys, monkeypatch):
    settings = ["optimizer.lr=0.1,1e30", "start.bits=float", "data.limit=300", "optimizer.epochs=1"]
    out = str(tmp_path / "out")
    command = ["grid", "digits-qat", *settings, "--out", out, "--json", str(tmp_path / "j.json")]
    assert main(command) == 1
    states = {run["name"]: run["state"] for run in json.loads((tmp_path / "j.json").read_text())}
    assert states == {
        "digits-qat-lr=0.1-limit=300-epochs=1-float": "finished",
        "digits-qat-lr=0.1-start-float-limit=300-epochs=1": "finished",
        "digits-qat-lr=1e30-limit=300-epochs=1-float": "diverged",
        "digits-qat-lr=1e30-start-float-limit=300-epochs=1": "blocked",
    }
    printed = capsys.readouterr().out
    monkeypatch.setattr(grid_runs, "run_experiment", None)  # nothing is tried again
    assert main(command) == 1
    assert {r["name"]: r["state"] for r in json.loads((tmp_path / "j.json").read_text())} == states
    assert "diverged.json says; delete the folder, or" in capsys.readouterr().out
    assert main([*command, "--list", str(tmp_path / "jobs.txt")]) == 1
    assert (tmp_path / "jobs.txt").read_text() == ""
    assert "diverged: training diverged in epoch 1" in printed
    assert "blocked: it needs digits-qat-lr=1e30-limit=300-epochs=1-float" in printed


def test_runs_that_another_process_trains_are_passed_over(tmp_path, capsys):
    grid = ["digits-fa,digits-qat", *TINY, "--teacher", "digits-teacher", "--out", str(tmp_path)]
    with lock_folder(tmp_path / "digits-teacher-limit=50-epochs=1"):
        assert main(["grid", *grid, "--json", str(tmp_path / "j.json")]) == 0
    states = [run["state"] for run in json.loads((tmp_path / "j.json").read_text())]
    assert states == ["busy", "busy", "finished"]
    printed = capsys.readouterr().out
    assert "digits-teacher-limit=50-epochs=1: busy: another process trains it" in printed
    assert "busy: it needs digits-teacher-limit=50-epochs=1, which another process" in printed
    assert main(["grid", *grid, "--json", str(tmp_path / "j.json")]) == 0
    states = [run["state"] for run in json.loads((tmp_path / "j.json").read_text())]
    assert states == ["finished"] * 3


def test_results_are_written_run_by_run(tmp_path, monkeypatch):
    seen = []

    def noting(*arguments, **options):
        if (tmp_path / "j.json").exists():
            seen.append([run["state"] for run in json.loads((tmp_path / "j.json").read_text())])
        return run_experiment(*arguments, **options)

    monkeypatch.setattr(grid_runs, "run_experiment", noting)
    command = ["grid", "digits-qat", "run.seed=0,1,2", *TINY[:2], "--out", str(tmp_path / "out")]
    assert main([*command, "--json", str(tmp_path / "j.json")]) == 0
    assert seen == [["finished", "new", "new"], ["finished", "finished", "new"]]


def test_joblib_decides_where_runs_are_trained(tmp_path, finished, monkeypatch):
    threads = []

    def noting(*arguments, **options):
        threads.append(threading.current_thread())
        return run_experiment(*arguments, **options)

    monkeypatch.setattr(grid_runs, "run_experiment", noting)
    with joblib.parallel_config(backend="threading", n_jobs=2):
        outcomes = run_grid(tiny_grid(tmp_path, "run.seed=0,1"))
    assert weights(outcomes) == weights(finished[1])
    assert len(threads) == 5
    assert threading.main_thread() not in threads


@pytest.mark.slow
def test_processes_train_the_same_weights(tmp_path, finished):
    outcomes = run_grid(tiny_grid(tmp_path, "run.seed=0,1"), jobs=2)
    assert weights(outcomes) == weights(finished[1])


def test_listed_commands_train_the_grid_in_their_order(tmp_path, finished, capsys):
    settings = ["digits-fa,digits-qat", "run.seed=0,1", *TINY, "--teacher", "digits-teacher"]
    out, lines = tmp_path / "runs", tmp_path / "jobs.txt"
    grid = ["grid", *settings, "--out", str(out)]
    assert main([*grid, "--list", str(lines)]) == 0
    printed = capsys.readouterr().out
    assert "5 commands are in" in printed
    assert "Lines 1-1 may run side by side.\n" in printed
    assert "Lines 2-5 may run side by side, once lines 1-1 are done.\n" in printed
    assert not out.exists()
    for line in lines.read_text().splitlines():
        program, *arguments = line.split(" ")
        assert program == "faqd-train"
        assert main(arguments) == 0
    assert main([*grid, "--json", str(tmp_path / "j.json")]) == 0  # finds all finished
    listed = json.loads((tmp_path / "j.json").read_text())
    assert {run["name"]: run["record"]["weights_sha256"] for run in listed} == weights(finished[1])
    assert main([*grid, "--list", str(lines)]) == 0
    assert lines.read_text() == ""


def test_summary_has_a_row_for_runs_that_differ_in_their_seed_alone(finished, capsys):
    out, outcomes = finished
    settings = ["digits-fa,digits-qat", "run.seed=0,1", *TINY, "--teacher", "digits-teacher"]
    assert main(["grid", *settings, "--out", str(out)]) == 0
    table = capsys.readouterr().out
    first, second = (
        outcome.record["test_accuracy"] for outcome in outcomes if "digits-fa" in outcome.run.name
    )
    spread = abs(first - second) / 2**0.5  # the standard deviation of two numbers
    assert f"{(first + second) / 2:.2%} ± {spread:.2%}" in table


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (Interrupted("SIGTERM in epoch 3"), "the state is saved: run the same command again"),
        (KeyboardInterrupt(), "interrupted by Ctrl-C"),
    ],
)
def test_an_interruption_is_told_in_one_line_with_code_75(
    tmp_path, monkeypatch, capsys, error, message
):
    def interrupted(*_arguments, **_options):
        raise error

    monkeypatch.setattr(grid_runs, "run_experiment", interrupted)
    assert main(["grid", "digits-qat", "--out", str(tmp_path)]) == 75
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


def test_missing_data_stop_a_grid_in_one_line_with_code_2(tmp_path, capsys):
    settings = [f"data.dir={tmp_path / 'gone'}", f"data.cache={tmp_path / 'cache'}"]
    assert main(["grid", "cifar10", *settings, "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert "faqd-train grid: cifar10-teacher: " in printed.err
    assert "gone is not a folder" in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


@pytest.mark.slow
def test_an_interrupted_grid_goes_on_to_the_same_weights(tmp_path):
    settings = ["run.seed=0,1", "data.limit=200", "optimizer.epochs=4"]

    def start(out):
        command = ["grid", "digits-qat", *settings, "--out", str(out), "--threads", "1"]
        return subprocess.Popen([sys.executable, "-m", "faqd_train.cli", *command])

    assert start(tmp_path / "whole").wait(120) == 0
    cut = start(tmp_path / "cut")
    until = time.monotonic() + 60
    while not list((tmp_path / "cut").glob("*seed=1*/last.checkpoint")):
        assert time.monotonic() < until
        time.sleep(0.01)
    os.kill(cut.pid, signal.SIGTERM)
    assert cut.wait(60) == 75
    assert len(list((tmp_path / "cut").glob("*/run.json"))) == 1
    assert start(tmp_path / "cut").wait(120) == 0
    hashes = [
        {path.parent.name: read_record(path)["weights_sha256"] for path in out.glob("*/run.json")}
        for out in (tmp_path / "whole", tmp_path / "cut")
    ]
    assert hashes[0] == hashes[1]
    assert len(hashes[0]) == 2


def test_a_command_is_shown_as_it_is_to_be_typed(tmp_path, capsys):
    out, setting = str(tmp_path / "[bold]"), "objective.fa.taps=['stage1']"
    command = ["grid", "digits-fa", setting, "--teacher", "digits-teacher", "--dry-run"]
    assert main([*command, "--out", out]) == 0
    _, *words = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert words[:4] == ["faqd-train", "distill", "digits-fa", setting]
    assert words[5].startswith(out)


def test_students_that_share_passes_are_trained_as_without(tmp_path, passes):
    settings = ["run.seed=0,1", "run.data_seed=0", "optimizer.batch_size=5", *TINY]
    command = ["grid", "digits-fa,digits-kd,digits-qat", *settings, "--teacher", "digits-teacher"]
    records, counts = {}, []
    for together in ("1", "4"):
        shown = tmp_path / f"{together}.json"
        where = ["--out", str(tmp_path / together), "--together", together, "--json", str(shown)]
        del passes[:]
        assert main([*command, *where]) == 0
        counts.append(len(passes))
        runs = json.loads(shown.read_text())
        records[together] = {run["name"]: without_time(run["record"]) for run in runs}
    assert records["1"] == records["4"]
    assert len(records["1"]) == 7
    # Ten steps of two seeds of two methods. Each takes its last pass itself, and looks at another.
    assert counts == [4 * (10 + 1), 10 - 1 + 4 * 2]


def test_groups_are_of_one_teacher_and_the_same_batches(tmp_path):
    settings = ["bits=4w4a,1w4a", "run.seed=0,1", "run.data_seed=0", "data.shift=0,1"]
    runs = tiny_grid(tmp_path, *settings, name="digits-fa,digits-kd,digits-qat")
    students = [run for run in runs if run.needs or run.teacher is None]
    groups = side_by_side(students, 3)
    assert sorted(run.name for group in groups for run in group) == sorted(
        run.name for run in students
    )
    assert max(len(group) for group in groups) == 3
    for group in groups:
        assert len({(run.teacher, batches_key(run.config)) for run in group}) == 1
        assert len(group) == 1 or group[0].teacher is not None
    assert side_by_side(students, 1) == [[run] for run in students]


def test_a_grid_says_how_each_run_of_a_group_ended(tmp_path):
    settings = ["optimizer.lr=0.1,1e30", "teacher.optimizer.lr=0.1"]
    runs = tiny_grid(tmp_path, *settings, name="digits-kd")
    run_grid(runs[:1])
    busy = tiny_grid(tmp_path, settings[1], name="digits-fa")[1:]
    with lock_folder(busy[0].folder):
        outcomes = run_grid([*runs, *busy], together=3)
    assert [outcome.state for outcome in outcomes] == ["finished", "finished", "diverged", "busy"]


@pytest.mark.parametrize("count", ["0", "-1"])
def test_no_student_at_once_is_refused(count, tmp_path, capsys):
    command = ["grid", "digits-qat", "--together", count, "--out", str(tmp_path / "out")]
    assert main(command) == 2
    expected = f"faqd-train grid: together is {count}; an integer of at least 1 is accepted"
    assert capsys.readouterr().err.startswith(expected)
    assert not (tmp_path / "out").exists()
