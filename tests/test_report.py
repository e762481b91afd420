"""The report on somebody's own runs: accuracies, curves and the runs side by side."""

import json

import pytest
from finished_runs import FLOAT, TEACHER, finished_run

from analysis.products.build import FOLDER
from analysis.report import main


@pytest.fixture
def folders(tmp_path):
    runs = {
        "kd": finished_run("method=kd", "optimizer.epochs=2", teacher=TEACHER),
        "fa": finished_run("method=fa", "optimizer.epochs=2", "optimizer.lr=0.2", teacher=TEACHER),
        "other": finished_run("method=supervised", "optimizer.epochs=2", name="cifar10"),
    }
    runs["fa"]["test_accuracy"] = 0.75
    given = ("data.name=cifar100", "model.kind=factory", "model.factory=somebody:wide")
    runs["given"] = finished_run(*FLOAT, *given, name="cifar10") | {"epochs": []}
    for name, run in runs.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps(run))
    return [tmp_path / name for name in runs]


def test_a_report_holds_these_runs_and_leaves_the_project_alone(folders, tmp_path, capsys):
    before = {path: path.stat().st_mtime_ns for path in FOLDER.iterdir()}
    out = tmp_path / "report"
    assert main([*map(str, folders), "--out", str(out)]) == 0
    written = {path.name for path in out.iterdir()}
    assert written == {
        f"{name}.{suffix}"
        for name, suffixes in {
            "accuracy": ("md", "csv", "tex"),
            "comparison": ("md", "csv", "tex"),
            "training-curves-digits": ("png", "pdf", "csv"),
            "training-curves-cifar10": ("png", "pdf", "csv"),
        }.items()
        for suffix in suffixes
    }
    assert {line.rpartition("/")[2] for line in capsys.readouterr().out.split()} == written
    table = (out / "accuracy.md").read_text("utf-8")
    assert table.count("\n| digits |") == 2
    assert table.count("\n| cifar10 |") == 1
    assert "\n| cifar100 | wide | float | supervised | yes | scratch | 0 |" in table
    assert "Not run" not in table
    assert {path: path.stat().st_mtime_ns for path in FOLDER.iterdir()} == before


def test_two_runs_stand_side_by_side(folders, tmp_path):
    assert main([*map(str, folders[:2]), "--out", str(tmp_path / "report")]) == 0
    lines = (tmp_path / "report" / "comparison.md").read_text("utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert cells[0] == ["", "kd", "fa"]
    rows = {name: values for name, *values in cells[2:]}
    assert rows["optimizer.lr"] == ["0.1", "0.2"]
    assert rows["test accuracy"] == ["0.25", "0.75"]
    assert "optimizer.epochs" not in rows


@pytest.mark.parametrize("twice", [False, True])
def test_runs_that_cannot_be_reported_are_refused(folders, tmp_path, capsys, twice):
    given = [folders[0], folders[0]] if twice else [tmp_path]
    with pytest.raises(SystemExit):
        main([*map(str, given), "--out", str(tmp_path / "report")])
    message = "2 folders came with 1 different names" if twice else "holds no run.json; a finished"
    assert message in capsys.readouterr().err
    assert not (tmp_path / "report").exists()
