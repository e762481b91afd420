"""Records: sealed, refused by name and reason, named by all settings; and where they came from."""

import json
import re
import shlex
import subprocess
from functools import cache

import pytest
from finished_runs import FLOAT, TEACHER, finished_run

from analysis.products.catalogue import KINDS, load_records
from analysis.records import collect, store
from analysis.records.cells import cells
from analysis.records.identity import describe_run, file_name, settings_of
from analysis.records.provenance import Origin
from analysis.records.run_records import run_record
from analysis.records.store import Made, seal
from analysis.studies.__main__ import parser as studies_parser
from faqd_train import load_config
from faqd_train.cli import _parser as train_parser
from faqd_train.runs import record as run_files

RESULT = {"about": "toy", "k": 15, "replications": 2, "errors": [{"value_error": 0.25}]}
ORIGIN = Origin("0.1.0", "abc", True, {"torch": "1.0"})
MADE = Made("make it", [3], [15], 2, {"maps.npz": "ab"}, ORIGIN)


def saved(folder, result=RESULT, kind="estimators"):
    return store.write(folder / "toy.json", seal(kind, result, MADE))


def reseal(path, **changes):
    """Alter a record and seal it again, as a forger would."""
    content = json.loads(path.read_text()) | changes
    schema = content.pop("schema")
    content.pop("sha256")
    content["sha256"] = store._digest(content)
    path.write_text(json.dumps({"schema": schema} | content))


def test_a_record_comes_back_as_it_was_saved(tmp_path):
    record = store.load(saved(tmp_path))
    assert record == seal("estimators", RESULT, MADE)
    assert (record.result, record.k, record.replications) == (RESULT, [15], 2)
    assert (record.version, record.revision, record.dirty) == ("0.1.0", "abc", True)
    assert store.load_all(tmp_path, KINDS) == {"toy": record}


@pytest.mark.parametrize(("old", "new"), [("0.25", "0.26"), ("[3]", "[4]"), ("make it", "made")])
def test_an_altered_record_is_refused(tmp_path, old, new):
    path = saved(tmp_path)
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=r"toy\.json does not match the SHA-256 .* unaltered"):
        store.load(path)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_refused_by_place(tmp_path, number):
    result = RESULT | {"errors": [{"value_error": number}]}
    message = rf"holds {number} at result\.errors\[0\]\.value_error; finite"
    with pytest.raises(ValueError, match=message):
        seal("estimators", result, MADE)
    path = saved(tmp_path)
    reseal(path, result=result)
    with pytest.raises(ValueError, match=rf"toy\.json {message}"):
        store.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 7}, r"toy\.json is not a record of schema 2"),
        ({"kind": "guess"}, r"toy\.json has kind 'guess'; accepted are .*estimators"),
        ({"kind": "cost"}, "a result of kind 'cost' lacks shapes"),
        ({"extra": 1}, r"toy\.json lacks or adds extra; the keys"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(tmp_path, changes, message):
    path = saved(tmp_path)
    reseal(path, **changes)
    with pytest.raises(ValueError, match=message):
        store.load_all(tmp_path, KINDS)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is not valid JSON"), ("[]", "is not a record of schema")]
)
def test_a_file_that_is_not_a_record_is_refused(tmp_path, text, message):
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(ValueError, match=rf"other\.json {message}"):
        store.load_all(tmp_path)


def test_the_revision_is_that_of_the_checkout_that_keeps_the_file(tmp_path):
    def git(*arguments):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True)

    code, installed = tmp_path / "code.py", tmp_path / "installed.py"
    for file in (code, installed):
        file.write_text("1")
    assert run_files.checkout(code) == (None, None)
    git("init")
    git("add", "code.py")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-m", "first")
    revision, dirty = run_files.checkout(code)
    assert re.fullmatch("[0-9a-f]{40}", revision)
    assert dirty is False
    code.write_text("2")
    assert run_files.checkout(code) == (revision, True)
    assert run_files.checkout(installed) == (None, None)  # below somebody else's checkout


# Committed records ---------------------------------------------------------------------------


def parse(command):
    """Parse a record's command by the parser of the program that it names."""
    words = shlex.split(command)
    if words[:3] == ["python", "-m", "analysis.studies"]:
        return studies_parser().parse_args(words[3:])
    if words[0] == "faqd-train":
        return train_parser().parse_args(words[1:])
    assert words[:2] == ["faqd-math", "verify"]
    return None


def test_committed_records_say_where_they_come_from():
    records = load_records()
    assert len(records) >= 10
    for name, record in records.items():
        parse(record.command)
        assert {"python", "numpy", "torch"} <= set(record.versions), name
        assert record.version, name
        assert record.revision is None or re.fullmatch("[0-9a-f]{40}", record.revision), name
        assert record.dirty is None or record.revision, name
        assert all(re.fullmatch("[0-9a-f]{64}", sha256) for sha256 in record.inputs.values()), name
        text = (store.FOLDER / f"{name}.json").read_text("utf-8")
        assert not any(place in text for place in ('"/', "/tmp", "/home", "/root", "C:\\\\"))


def test_committed_runs_are_named_by_what_was_run():
    for name, record in load_records().items():
        if record.kind == "run":
            assert name == f"runs/{file_name(record.result).removesuffix('.json')}"
            assert record.seeds == [record.result["config"]["run"]["seed"]]
            assert record.inputs["training images"]


# Runs ----------------------------------------------------------------------------------------


def add(tmp_path, run, **options):
    folder = tmp_path / "run"
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_text(json.dumps(run))
    return collect.add_run(folder, tmp_path / "to", **options)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (FLOAT, "float-supervised-scratch"),
        (("bits=2w4a", "method=supervised"), "2w4a-supervised-scratch"),
        (("bits=4w", "method=kd", "labels=label-free"), "4w-kd-label-free-scratch"),
        (("bits=4w4a", "method=fa", "labels=label-free"), "4w4a-fa-label-free-scratch"),
        (("bits=1w", "method=ffa5", "labels=labelled"), "1w-ffa5-labelled-scratch"),
    ],
)
def test_a_run_is_named_by_what_was_run(tmp_path, settings, name):
    path = add(tmp_path, finished_run(*settings, "run.seed=4", "optimizer.epochs=2"))
    assert re.fullmatch(rf"digits-preactresnet8-{name}-2ep-[0-9a-f]{{10}}-seed4\.json", path.name)
    record = store.load(path)
    assert (record.seeds, record.revision, record.dirty) == ([4], "abc", False)
    assert record.k == ([5] if "ffa5" in name else [])
    assert record.result["test_accuracy"] == 0.25
    assert set(record.result["config"]["data"]) & {"dir", "cache"} == set()


def test_where_files_lie_and_the_seed_are_no_settings():
    here = finished_run("data.cache=here")
    there = finished_run("data.cache=there", "run.seed=1")
    assert settings_of(here) == settings_of(there)
    assert file_name(here) != file_name(there)


# One setting changed in each: (name of the configuration, settings, further parts of the run).
START = {**TEACHER, "weights_sha256": "cd" * 32}
VARIANTS = {
    "depth": ("cifar10", ["model.depth=32"], {}),
    "widths": ("cifar10", ["model.widths=[16,32,65]"], {}),
    "epochs": ("cifar10", ["optimizer.epochs=3"], {}),
    "lr": ("cifar10", ["optimizer.lr=0.02"], {}),
    "batch": ("cifar10", ["optimizer.batch_size=50"], {}),
    "order": ("cifar10", ["objective.fa.order=1"], {}),
    "exact": ("cifar10", ["method=fa"], {}),
    "k": ("cifar10", ["objective.fa.probes.k=7"], {}),
    "one-sided": ("cifar10", ["objective.fa.probes.gradient=one-sided"], {}),
    "law": ("cifar10", ["objective.fa.probes.law=sphere"], {}),
    "projection": ("cifar10", ["quantization.weights.projection=exact"], {}),
    "per channel": ("cifar10", ["quantization.weights.per_channel=true"], {}),
    "first layer": ("cifar10", ["quantization.weights.first=float"], {}),
    "last layer": ("cifar10", ["quantization.weights.last=quantized"], {}),
    "flip": ("cifar10", ["data.flip=false"], {}),
    "data seed": ("cifar10", ["run.data_seed=0"], {}),
    "precision": ("cifar10", ["run.precision=bfloat16"], {}),
    "teacher": ("cifar10", [], {"teacher": START}),
    "start": ("cifar10", [], {"init": START}),
    "other start": ("cifar10", [], {"init": TEACHER}),
}


@cache
def variants():
    base = ["method=ffa15", "optimizer.epochs=2"]
    runs = {"base": finished_run(*base, name="cifar10", teacher=TEACHER)}
    for key, (name, settings, others) in VARIANTS.items():
        runs[key] = finished_run(*base, *settings, name=name, **{"teacher": TEACHER} | others)
    return runs


def test_runs_that_differ_in_one_setting_share_no_file_and_no_cell():
    runs = variants()
    names = {key: file_name(run) for key, run in runs.items()}
    assert len(set(names.values())) == len(runs)
    found = cells({name: run_record(runs[key]) for key, name in names.items()})
    assert len(found) == len(runs)
    shown = [(tuple(cell.words.values()), cell.other) for cell in found]
    assert len(set(shown)) == len(runs)  # and a reader can tell them apart


def test_seeds_fall_into_one_cell_and_a_start_of_the_own_seed_does_not_part_them():
    records = {}
    for seed in (0, 1):
        start = finished_run(*FLOAT, f"run.seed={seed}", weights=str(seed) * 64)
        known = {**TEACHER, "seed": seed, "weights_sha256": str(seed) * 64}
        student = finished_run(f"run.seed={seed}", teacher=TEACHER, init=known)
        for run in (start, student):
            records[file_name(run)] = run_record(run)
    first, second = cells(records)
    assert (len(first.runs), first.words["bits"]) == (2, "float")
    assert (len(second.runs), second.words["start"]) == (2, "fine-tuned")


def test_a_teacher_is_one_whose_weights_another_run_learnt_from():
    teacher = finished_run(*FLOAT, "model.widths=[16,32,64]", weights=TEACHER["weights_sha256"])
    like = finished_run(*FLOAT, weights="34" * 32)
    student = finished_run("method=kd", teacher=TEACHER)
    records = {file_name(run): run_record(run) for run in (teacher, like, student)}
    assert [cell.teaches for cell in cells(records)] == [True, False, False]
    assert [cell.other for cell in cells(records)] == ["", "widths 8-16-32", ""]
    assert not any(cell.teaches for cell in cells({"x": records[file_name(teacher)]}))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("model.kind=resnet", "method=fa"), ("ResNet-20", "4W4A", "FA", True)),
        (("bits=1w", "method=kd", "labels=label-free"), ("PreActResNet-20", "1W", "KD", False)),
        (
            ("method=ffa5", "objective.fa.probes.gradient=one-sided"),
            ("PreActResNet-20", "4W4A", "FFA, k = 5, one-sided", True),
        ),
        (
            ("model.kind=factory", "model.factory=a.b:wide", *FLOAT),
            ("wide", "float", "supervised", True),
        ),
    ],
)
def test_a_run_is_described_in_words(settings, words):
    described = describe_run(finished_run(*settings, name="cifar10"))
    assert tuple(described.values()) == ("cifar10", *words, "scratch")


def test_a_network_of_a_factory_is_named_by_its_function_and_depth():
    config = {
        "data": {"name": "cifar10"},
        "model": {"factory": "a.b:cifar_resnet", "options": {"depth": 56}},
        "quantization": {"weights": None, "activations": None},
        "objective": {"kd": None, "fa": None, "label": {"weight": 1.0}},
    }
    assert tuple(describe_run({"config": config}).values()) == (
        "cifar10", "ResNet-56", "float", "supervised", True, "scratch",
    )  # fmt: skip


@pytest.mark.parametrize("key", ["base", *VARIANTS])
def test_the_command_of_a_run_gives_its_settings_again(key):
    run = variants()[key]
    options = parse(run_record(run).command)
    assert str(options.teacher) == f"runs/teacher-{run['teacher']['weights_sha256'][:10]}"
    again = load_config(options.config, options.settings).model_dump(mode="json")
    start = again["model"].pop("init")
    assert start == (run["init"] and f"runs/start-{run['init']['weights_sha256'][:10]}")
    again = {"config": again, **{source: run[source] for source in ("teacher", "init")}}
    assert settings_of(again) == settings_of(run)
    assert file_name({**again, "epochs": run["epochs"]}) in f"{options.out}.json"


def test_a_collected_run_is_not_overwritten_unless_asked(tmp_path):
    path = add(tmp_path, finished_run())
    assert add(tmp_path, finished_run()) == path
    with pytest.raises(ValueError, match="exists with other content"):
        add(tmp_path, finished_run(weights="34"))
    assert add(tmp_path, finished_run(weights="34"), replace=True) == path
    assert store.load(path).result["weights_sha256"] == "34"


def test_records_are_renamed_when_the_settings_have_changed(tmp_path):
    path = add(tmp_path, finished_run())
    record = store.load(path)
    path.rename(path.with_name("digits-of-old.json"))
    assert collect.main(["renew", "--to", str(tmp_path / "to")]) == 0
    assert store.load_all(tmp_path / "to") == {f"runs/{path.stem}": record}


def test_a_run_that_is_not_finished_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no run\.json; a finished run is accepted"):
        collect.add_run(tmp_path)


def claims_report(tmp_path, **made):
    checks = [{"subject": "easy", "measured": 1.0}, {"subject": "hard", "measured": 2.0}]
    claims = [{"hardest": "hard", "checks": checks}]
    report = {"false_alarm": 0.001, "failing": [], "claims": claims, **made}
    (tmp_path / "report.json").write_text(json.dumps(report))
    return ["claims", str(tmp_path / "report.json"), "--name", "toy", "--to", str(tmp_path / "to")]


def test_a_report_of_claims_keeps_the_hardest_checks_and_how_it_was_made(tmp_path):
    made = {
        "command": "faqd-math verify --seed 7", "seeds": [7], "k": 3, "replications": 50,
        "features_sha256": "ab" * 32, "version": "0.1.0", "revision": "abc", "dirty": True,
    }  # fmt: skip
    assert collect.main(claims_report(tmp_path, **made)) == 0
    (record,) = store.load_all(tmp_path / "to", KINDS).values()
    (claim,) = record.result["claims"]
    assert (claim["checks"], claim["check"]["measured"]) == (2, 2.0)
    assert (record.command, record.seeds, record.k) == (made["command"], [7], [3])
    assert (record.replications, record.inputs) == (50, {"features": "ab" * 32})
    assert (record.version, record.revision, record.dirty) == ("0.1.0", "abc", True)


def test_a_report_that_does_not_say_how_it_was_made_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        collect.main(claims_report(tmp_path))
    assert "report.json lacks command, dirty, features_sha256" in capsys.readouterr().err
