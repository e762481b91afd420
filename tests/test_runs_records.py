"""Whole runs: label-free, reproducible, recorded; what they keep, and the command."""

import json
import math
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import TINY, same_tensors, train

from faqd_train import data, files, load_run
from faqd_train.cli import main
from faqd_train.runs import record as records
from faqd_train.runs.load import evaluate
from faqd_train.training.divergence import TrainingDiverged

WEIGHTS = "weights.safetensors"
FLOAT = ["quantization.weights=none", "quantization.activations=none"]


def test_same_seed_gives_the_same_bits_and_another_seed_does_not(tmp_path, teacher):
    for name, settings in {"a": [], "b": [], "c": ["run.seed=1"]}.items():
        train(tmp_path / name, *settings, teacher=teacher)
    assert same_tensors(tmp_path / "a" / WEIGHTS, tmp_path / "b" / WEIGHTS)
    assert not same_tensors(tmp_path / "a" / WEIGHTS, tmp_path / "c" / WEIGHTS)


def test_label_free_runs_never_open_the_training_labels(tmp_path, teacher, monkeypatch):
    """Noise instead of labels, and labels that cannot be read, leave the weights bit-identical."""
    genuine, opened = data.load_labels, []

    def noise(name, split):
        opened.append(split)
        labels = genuine(name, split)
        if split == "train":
            return torch.randint(10, labels.shape, generator=torch.Generator().manual_seed(0))
        return labels

    def unreadable(name, split):
        if split == "train":
            raise OSError("the labels are gone")
        return genuine(name, split)

    def trained(folder, **options):
        return train(tmp_path / folder, teacher=teacher, **options)["weights_sha256"]

    expected = trained("a")
    monkeypatch.setattr(data, "load_labels", noise)
    assert trained("b") == expected
    assert "train" not in opened
    learned = trained("c", name="digits")
    monkeypatch.setattr(data, "load_labels", unreadable)
    assert trained("d") == expected
    # The proof can fail: a run with a label term notices both.
    with pytest.raises(OSError, match="the labels are gone"):
        trained("e", name="digits")
    monkeypatch.setattr(data, "load_labels", genuine)
    assert trained("f", name="digits") != learned


def test_a_record_describes_the_run(tmp_path, teacher):
    out, epochs = tmp_path / "run", []
    record = train(out, "run.capture=3", name="digits-fa", teacher=teacher, on_epoch=epochs.append)
    assert json.loads((out / "run.json").read_text()) == record
    assert sorted(path.name for path in out.iterdir()) == [
        ".lock", "adapters.safetensors", "best.safetensors", "features_after.npz",
        "features_before.npz", "metrics.jsonl", "run.json", WEIGHTS,
    ]  # fmt: skip
    assert [epoch.epoch for epoch in epochs] == [1, 2]
    assert [epoch["lr"] for epoch in record["epochs"]] == pytest.approx([0.1, 0.05])  # cosine
    first, second = record["epochs"]
    assert first["order_sha256"] != second["order_sha256"]
    assert first["loss"] == pytest.approx(first["terms"]["kd"] + 0.1 * first["terms"]["fa"])
    assert first["gradient_norm"] > 0
    assert record["data"] == {
        "train_sha256": files.fingerprint(data.load_images("digits", "train")[:60]),
        "train": 60,
        "validation": 300,
    }
    expected = records.read_record(teacher / "run.json")["weights_sha256"]
    assert record["teacher"]["weights_sha256"] == expected
    for levels in record["weight_levels"].values():
        assert levels["distinct"] <= levels["allowed"] == 15
    assert "classifier" not in record["weight_levels"]
    assert all(step > 0 for step in record["activation_steps"].values())


def test_exact_and_fast_runs_of_one_seed_share_their_data_order_and_learn(tmp_path, teacher):
    runs = [
        train(tmp_path / name, "optimizer.epochs=6", name=name, teacher=teacher)
        for name in ("digits-fa", "digits-ffa")
    ]
    exact, fast = ([epoch["order_sha256"] for epoch in run["epochs"]] for run in runs)
    assert exact == fast
    assert runs[0]["weights_sha256"] != runs[1]["weights_sha256"]
    for run in runs:
        assert run["epochs"][-1]["loss"] < 0.8 * run["epochs"][0]["loss"]


def test_best_and_last_weights_are_kept_and_tested(teacher, tmp_path, capsys):
    # With this seed the accuracy rises, and falls again.
    record = train(tmp_path, "optimizer.epochs=8", "run.seed=3", teacher=teacher)
    accuracies = [epoch["validation_accuracy"] for epoch in record["epochs"]]
    best = record["best"]
    assert best["validation_accuracy"] == max(accuracies) > accuracies[-1]
    assert best["epoch"] == 1 + accuracies.index(max(accuracies))  # the first of equals
    assert record["validation_accuracy"] == accuracies[-1]
    for weights, recorded in (("best", best), ("last", record)):
        run = load_run(tmp_path, weights)
        for split in ("validation", "test"):
            assert evaluate(run.network, run.config, split) == recorded[f"{split}_accuracy"]
    assert main(["evaluate", str(tmp_path), "--split=validation", "--weights=best"]) == 0
    assert capsys.readouterr().out == f"accuracy: validation {max(accuracies):.2%}\n"


def test_a_loaded_run_tests_as_recorded_and_altered_weights_are_refused(tmp_path, teacher):
    run = load_run(teacher)
    inputs = data.make_preparation(data.load_images("digits", "train"), 0)(
        data.load_images("digits", "test")
    )
    hits = run.network(inputs).argmax(1) == data.load_labels("digits", "test")
    assert hits.float().mean().item() == pytest.approx(run.record["test_accuracy"])
    shutil.copytree(teacher, tmp_path / "run")
    weights = tmp_path / "run" / WEIGHTS
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match=r"weights\.safetensors is not the file that run\.json"):
        load_run(tmp_path / "run")


def test_metrics_are_there_as_each_epoch_ends(teacher, tmp_path):
    seen = []

    def read(epoch):
        lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
        seen.append([json.loads(line)["epoch"] for line in lines])
        assert json.loads(lines[-1])["loss"] == epoch.loss

    train(tmp_path, teacher=teacher, on_epoch=read)
    assert seen == [[1], [1, 2]]


def test_tensorboard_gets_the_numbers_of_the_record(teacher, tmp_path, monkeypatch):
    drawn = []

    class Writer:
        def __init__(self, folder, purge_step):
            drawn.append((folder, purge_step))

        def add_scalar(self, name, value, epoch):
            drawn.append((name, value, epoch))

        def flush(self):
            drawn.append("flushed")

        def close(self):
            drawn.append("closed")

    module = SimpleNamespace(SummaryWriter=Writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    record = train(tmp_path, "run.tensorboard=true", teacher=teacher)
    expected = [(str(tmp_path / "tensorboard"), 1)]
    for epoch in record["epochs"]:
        numbers = {key: epoch[key] for key in ("loss", "lr", "gradient_norm")}
        numbers |= {f"terms/{name}": value for name, value in epoch["terms"].items()}
        numbers["validation_accuracy"] = epoch["validation_accuracy"]
        expected += [(name, value, epoch["epoch"]) for name, value in numbers.items()]
        expected.append("flushed")
    assert drawn == [*expected, "closed"]


def test_tensorboard_that_is_not_installed_is_refused_in_one_sentence(
    teacher, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match=r"run\.tensorboard is true, but TensorBoard is not inst"):
        train(tmp_path / "run", "run.tensorboard=true", teacher=teacher)
    assert not (tmp_path / "run").exists()


def test_the_rate_rises_before_it_falls(teacher, tmp_path):
    rates = ["optimizer.epochs=6", "optimizer.warmup_epochs=2", "optimizer.lr=0.3"]
    record = train(tmp_path, *rates, teacher=teacher)
    cosine = [0.15 * (1 + math.cos(math.pi * i / 4)) for i in range(4)]
    assert [epoch["lr"] for epoch in record["epochs"]] == pytest.approx([0.1, 0.2, *cosine])


@pytest.mark.parametrize(
    ("settings", "rel"),
    [
        # bfloat16 rounds to 8 bits, 0.4 %, in each of eight layers forward and backward. Of a
        # float student: it moves activations across the thresholds of a quantized one.
        ([*FLOAT, "run.precision=bfloat16"], 0.03),
        ([*FLOAT, "run.teacher.precision=bfloat16"], 0.03),
        # Float32 sums in another order, over six steps of training.
        ([*FLOAT, "run.channels_last=true"], 1e-4),
    ],
    ids=["bfloat16", "teacher in bfloat16", "channels-last"],
)
def test_ways_to_compute_train_nearly_alike(settings, rel, teacher, tmp_path):
    usual, other = (
        train(tmp_path / name, *own, name="digits-fa", teacher=teacher)
        for name, own in (("usual", FLOAT), ("other", settings))
    )
    if rel > 1e-3:  # the setting has reached the run
        assert usual["weights_sha256"] != other["weights_sha256"]
    for one, two in zip(usual["epochs"], other["epochs"], strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=rel)
    weights = load_file(tmp_path / "other" / WEIGHTS)
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32, torch.int64}


def test_a_run_that_diverged_is_refused_until_it_is_overwritten(tmp_path):
    fast = {"name": "digits-float"}
    with pytest.raises(TrainingDiverged, match=r"epoch 1: .* lower optimizer\.lr") as first:
        train(tmp_path, "optimizer.lr=1e30", **fast)
    assert not (tmp_path / "run.json").exists()
    with pytest.raises(ValueError, match="holds a diverged run; an empty or new folder"):
        train(tmp_path, "optimizer.lr=1e30", **fast)
    with pytest.raises(TrainingDiverged, match=r"diverged\.json .*delete the folder") as again:
        train(tmp_path, "optimizer.lr=1e30", **fast, resume=True)
    assert str(again.value).startswith(str(first.value).rstrip("."))
    with pytest.raises(ValueError, match="holds a diverged run of another configuration"):
        train(tmp_path, **fast, resume=True)
    train(tmp_path, **fast, overwrite=True)
    assert not (tmp_path / "diverged.json").exists()
    assert main(["evaluate", str(tmp_path)]) == 0


def test_captured_maps_change_no_run_and_follow_it(teacher, tmp_path):
    """The last epoch's are those after the run, the first one's are not."""
    plain, watched = tmp_path / "plain", tmp_path / "watched"
    train(plain, "run.capture=3", teacher=teacher)
    train(watched, "run.capture=3", "run.capture_epochs=[1,2]", teacher=teacher)
    assert same_tensors(plain / WEIGHTS, watched / WEIGHTS)
    first, last, after = (
        np.load(watched / f"features_{moment}.npz")["student.stage1"]
        for moment in ("epoch1", "epoch2", "after")
    )
    np.testing.assert_array_equal(last, after)
    assert np.abs(first - after).max() > 0


def test_overwriting_leaves_nothing_of_the_former_run(teacher, tmp_path):
    train(tmp_path, "run.capture=3", "run.capture_epochs=[1]", teacher=teacher)
    assert {path.name for path in tmp_path.glob("features_*")} == {
        f"features_{moment}.npz" for moment in ("before", "epoch1", "after")
    }
    (tmp_path / "tensorboard").mkdir()
    for name in ("diverged.json", ".last.checkpoint.part", "tensorboard/events"):
        (tmp_path / name).touch()
    (tmp_path / "notes.txt").touch()  # not the run's
    train(tmp_path, name="digits-float", overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {
        ".lock", "best.safetensors", "metrics.jsonl", "notes.txt", "run.json", WEIGHTS,
    }  # fmt: skip


def test_a_failed_write_leaves_the_old_record_and_no_rest(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    record = {"schema": 1, "config": {}, "weights_sha256": ""}
    records.write_record(path, record)

    def full(*_paths):
        raise OSError("no space left")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        records.write_record(path, record | {"new": True})
    assert list(tmp_path.iterdir()) == [path]
    assert records.read_record(path) == record


def test_a_record_holds_no_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        records.write_record(tmp_path / "run.json", {"loss": math.nan})


@pytest.mark.parametrize(("text", "message"), [("{", "is not valid JSON"), ("[]", "schema None")])
def test_a_bad_record_is_refused(tmp_path, text, message):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        records.read_record(tmp_path / "run.json")


def test_command_trains_distills_and_evaluates(tmp_path, capsys):
    tiny = [*TINY, "optimizer.epochs=1"]
    teacher, student = str(tmp_path / "teacher"), str(tmp_path / "student")
    assert main(["teacher", "digits-teacher", *tiny, "--out", teacher]) == 0
    assert main(["distill", "digits-fa", *tiny, "--out", student, "--teacher", teacher]) == 0
    assert main(["evaluate", student]) == 0
    lines = capsys.readouterr().out.splitlines()
    recorded = json.loads((tmp_path / "student" / "run.json").read_text())["test_accuracy"]
    assert lines[-1] == f"accuracy: test {recorded:.2%}"
    assert main(["teacher", "digits-teacher", *tiny, "--out", teacher]) == 2
    assert "holds a finished run; an empty or new folder" in capsys.readouterr().err
    assert main(["teacher", "digits-teacher", *tiny, "--out", teacher, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["teacher", "digits-fa"], "the configuration needs a teacher itself"),
        (["distill", "digits-fa"], "teacher is None, which objective.kd"),
        (["distill", "digits-fa", "--teacher", "nowhere"], "nowhere holds no run.json"),
        (["distill", "digits-fa", "objective.fa=x"], "objective.fa is 'x'; a section of weight"),
        (["distill", "missing.toml"], "No such file or directory: 'missing.toml'"),
        (
            ["distill", "digits-fa", "run.cuda_graph=true"],
            "run.cuda_graph is true on cpu with 1 processes; one process on a CUDA device is",
        ),
    ],
)
def test_command_refuses_in_one_line_with_code_2(arguments, message, teacher, tmp_path, capsys):
    needed = ["--teacher", str(teacher)] if "run.cuda_graph=true" in arguments else []
    assert main([*arguments, *needed, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [["teach"], ["evaluate"], ["evaluate", "x", "--threads=0"]])
def test_unknown_arguments_are_refused_in_one_line_with_code_2(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert capsys.readouterr().err.count("\n") == 1
