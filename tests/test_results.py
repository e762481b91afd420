"""Records: sealed, loaded whole, refused by name and reason; and how runs become records."""

import json

import pytest

from analysis import collect, results
from faqd_train import load_config
from faqd_train.config.schema import Config

RESULT = {"about": "toy", "k": 15, "replications": 2, "errors": [{"value_error": 0.25}]}


def saved(tmp_path, **changes):
    arguments = {"command": "make it", "seeds": [3], "inputs": {"maps.npz": "ab"}} | changes
    path = tmp_path / "toy.json"
    results.save(path, "estimators", arguments.pop("result", RESULT), **arguments)
    return path


def reseal(path, **changes):
    """Alter a record and seal it again, as a forger would."""
    content = json.loads(path.read_text()) | changes
    content.pop("sha256")
    content["sha256"] = results._digest(content)
    path.write_text(json.dumps(content))


def test_a_record_comes_back_as_it_was_saved(tmp_path):
    record = results.load(saved(tmp_path))
    assert record.result == RESULT
    assert (record.kind, record.command, record.seeds) == ("estimators", "make it", [3])
    assert record.inputs == {"maps.npz": "ab"}
    assert set(record.versions) == {"python", "faqd", "numpy", "scipy", "torch"}
    assert results.load_all(tmp_path) == {"toy": record}


def test_the_origin_of_a_result_computed_elsewhere_is_kept(tmp_path):
    record = results.load(saved(tmp_path, origin=("abc", {"torch": "1.0"})))
    assert (record.revision, record.versions) == ("abc", {"torch": "1.0"})


@pytest.mark.parametrize(("old", "new"), [("0.25", "0.26"), ("[3]", "[4]"), ("make it", "made")])
def test_an_altered_record_is_refused(tmp_path, old, new):
    path = saved(tmp_path)
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=r"toy\.json has another SHA-256 .* unaltered"):
        results.load(path)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_finite_number_is_refused_by_place(tmp_path, number):
    result = RESULT | {"errors": [{"value_error": number}]}
    told = rf"toy\.json holds {number} at result\.errors\[0\]\.value_error; finite"
    with pytest.raises(ValueError, match=told):
        saved(tmp_path, result=result)
    path = saved(tmp_path)
    reseal(path, result=result)
    with pytest.raises(ValueError, match=told):
        results.load(path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"schema": 7}, "has schema 7; 1 is accepted"),
        ({"kind": "guess"}, "has kind 'guess'; accepted are .*estimators"),
        ({"kind": "cost"}, "of kind 'cost' lacks shapes in its result"),
        ({"extra": 1}, "lacks or adds extra; the keys"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(tmp_path, changes, told):
    path = saved(tmp_path)
    reseal(path, **changes)
    with pytest.raises(ValueError, match=rf"toy\.json {told}"):
        results.load(path)


def test_a_record_that_lacks_a_key_is_refused(tmp_path):
    path = saved(tmp_path)
    content = json.loads(path.read_text())
    del content["seeds"]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"toy\.json lacks or adds seeds"):
        results.load(path)


@pytest.mark.parametrize(("text", "told"), [("{", "is no JSON"), ("[]", "holds no object")])
def test_what_is_no_record_at_all_is_refused(tmp_path, text, told):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"other\.json {told}"):
        results.load_all(tmp_path)


def test_committed_records_load_and_name_no_place_of_a_machine():
    records = results.load_all()
    assert len(records) >= 10
    for name in records:
        text = (results.FOLDER / f"{name}.json").read_text("utf-8")
        assert not any(place in text for place in ('"/', "/tmp", "/home", "/root", "C:\\\\"))


def finished_run(folder, *settings, name="digits"):
    """Write the run.json of a run that never was."""
    config = load_config(name, settings)
    assert isinstance(config, Config)
    epoch = {"epoch": 1, "loss": 1.0, "terms": {"fa": 0.5}, "validation_accuracy": 0.5, "lr": 0.1}
    record = {
        "schema": 1,
        "config": config.model_dump(mode="json"),
        "data": {"train_sha256": "cd"},
        "environment": {
            "git_revision": "abc",
            "python": "3",
            "faqd": "0",
            "numpy": "2",
            "torch": "2",
        },
        "epochs": [epoch | {"seconds": 1.0, "order_sha256": "ef"}],
        "validation_accuracy": 0.5,
        "test_accuracy": 0.25,
        "seconds": 1.0,
        "weights_sha256": "12",
    }
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(record))
    return folder


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (("bits=float", "method=supervised"), "float-supervised"),
        (("bits=2w4a", "method=supervised"), "2w4a-supervised"),
        (("bits=4w", "method=kd", "labels=label-free"), "4w-kd-label-free"),
        (("bits=4w4a", "method=fa", "labels=label-free"), "4w4a-fa-label-free"),
        (("bits=1w", "method=ffa5", "labels=labelled"), "1w-ffa5-labelled"),
        (("bits=4w", "method=supervised", "run.precision=bfloat16"), "4w-supervised-bfloat16"),
    ],
)
def test_a_run_is_named_by_what_was_run(tmp_path, settings, name):
    folder = finished_run(tmp_path / "run", *settings, "run.seed=4")
    path = collect.add_run(folder, tmp_path / "to")
    assert path.name == f"digits-{name}-seed4.json"
    record = results.load(path)
    assert (record.seeds, record.revision) == ([4], "abc")
    assert record.result["test_accuracy"] == 0.25
    assert record.result["network"] == "ResNet-8"
    assert set(record.result["config"]["data"]) & {"dir", "cache"} == set()


def test_a_teacher_is_told_from_a_student_of_like_configuration(tmp_path):
    folder = finished_run(tmp_path / "digits-teacher", "bits=float", "method=supervised")
    path = collect.add_run(folder, tmp_path / "to")
    assert path.name == "digits-float-teacher-seed0.json"
    assert results.load(path).result["method"] == "teacher"


def test_a_run_that_is_not_finished_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no run\.json; a finished run is accepted"):
        collect.add_run(tmp_path)


def test_of_a_claim_the_hardest_check_is_kept(tmp_path):
    checks = [{"subject": "easy", "measured": 1.0}, {"subject": "hard", "measured": 2.0}]
    report = {
        "false_alarm": 0.001,
        "failing": [],
        "claims": [{"hardest": "hard", "checks": checks}],
    }
    (tmp_path / "report.json").write_text(json.dumps(report))
    arguments = ["claims", str(tmp_path / "report.json"), "--name", "toy", "--command", "verify"]
    assert collect.main([*arguments, "--to", str(tmp_path / "to")]) == 0
    (record,) = results.load_all(tmp_path / "to").values()
    assert record.result["claims"] == [{"hardest": "hard", "checks": 2, "check": checks[1]}]
