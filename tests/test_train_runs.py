"""Whole runs: label-free, reproducible, recorded, stopped when they diverge; the command."""

import json
import math
import os

import pytest
import torch
from safetensors.torch import load_file

from faqd_train import data, distill, fa_loss, load_config, load_run, run_experiment
from faqd_train.cli import main
from faqd_train.config.objective import KlConfig
from faqd_train.networks.resnet import preact_resnet
from faqd_train.runs import record as records
from faqd_train.training.divergence import TrainingDiverged
from faqd_train.training.loop import fit
from faqd_train.training.objective import affinity_term, distillation
from faqd_train.training.seeds import make_streams

TINY = ["data.limit=60", "model.widths=[4, 4, 8]", "optimizer.batch_size=20", "optimizer.epochs=2"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "teacher"
    run_experiment(load_config("digits-teacher", TINY), folder)
    return folder


def trained(out, teacher, *overrides, name="digits-ffa"):
    run_experiment(load_config(name, [*TINY, *overrides]), out, teacher=teacher)
    return load_file(out / "weights.safetensors")


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_same_seed_gives_the_same_bits_and_another_seed_does_not(tmp_path, teacher):
    before = torch.random.get_rng_state()
    first, again = (trained(tmp_path / name, teacher) for name in "ab")
    other = trained(tmp_path / "c", teacher, "run.seed=1")
    assert same(first, again)
    assert not same(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


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

    with_labels = trained(tmp_path / "a", teacher)
    monkeypatch.setattr(data, "load_labels", noise)
    assert same(with_labels, trained(tmp_path / "b", teacher))
    assert "train" not in opened
    learned = trained(tmp_path / "c", teacher, name="digits")
    monkeypatch.setattr(data, "load_labels", unreadable)
    assert same(with_labels, trained(tmp_path / "d", teacher))
    # The proof can fail: a run with a label term notices both.
    with pytest.raises(OSError, match="the labels are gone"):
        trained(tmp_path / "e", teacher, name="digits")
    monkeypatch.setattr(data, "load_labels", genuine)
    assert not same(learned, trained(tmp_path / "f", teacher, name="digits"))


def test_record_tells_the_run(tmp_path, teacher):
    out, epochs = tmp_path / "run", []
    config = load_config("digits-fa", [*TINY, "run.capture=3"])
    record = run_experiment(config, out, teacher=teacher, on_epoch=epochs.append)
    assert json.loads((out / "run.json").read_text()) == record
    assert sorted(path.name for path in out.iterdir()) == [
        ".lock", "adapters.safetensors", "best.safetensors", "features_after.npz",
        "features_before.npz", "metrics.jsonl", "run.json", "weights.safetensors",
    ]  # fmt: skip
    assert [epoch.epoch for epoch in epochs] == [1, 2]
    assert [epoch["lr"] for epoch in record["epochs"]] == pytest.approx([0.1, 0.05])  # cosine
    first, second = record["epochs"]
    assert first["order_sha256"] != second["order_sha256"]
    assert first["loss"] == pytest.approx(first["terms"]["kd"] + 0.1 * first["terms"]["fa"])
    assert record["data"] == {
        "train_sha256": data.fingerprint(data.load_images("digits", "train")[:60]),
        "train": 60,
        "validation": 300,
    }
    assert record["teacher"]["weights_sha256"] == records.read_record(teacher / "run.json")[
        "weights_sha256"
    ]  # fmt: skip
    for levels in record["weight_levels"].values():
        assert levels["distinct"] <= levels["allowed"] == 15
    assert "classifier" not in record["weight_levels"]
    assert all(step > 0 for step in record["activation_steps"].values())


def test_exact_and_fast_runs_of_one_seed_share_their_data_order(tmp_path, teacher):
    runs = [
        run_experiment(load_config(name, TINY), tmp_path / name, teacher=teacher)
        for name in ("digits-fa", "digits-ffa")
    ]
    exact, fast = ([epoch["order_sha256"] for epoch in run["epochs"]] for run in runs)
    assert exact == fast
    assert runs[0]["weights_sha256"] != runs[1]["weights_sha256"]


def test_loss_falls_over_a_short_run(tmp_path, teacher):
    config = load_config("digits-fa", [*TINY, "optimizer.epochs=6"])
    epochs = run_experiment(config, tmp_path / "run", teacher=teacher)["epochs"]
    assert epochs[-1]["loss"] < 0.8 * epochs[0]["loss"]


def test_a_loaded_run_tests_as_recorded_and_altered_weights_are_refused(tmp_path, teacher):
    trained(tmp_path / "run", teacher)
    run = load_run(tmp_path / "run")
    inputs = data.make_preparation(data.load_images("digits", "train"), 0)(
        data.load_images("digits", "test")
    )
    hits = run.network(inputs).argmax(1) == data.load_labels("digits", "test")
    assert hits.float().mean().item() == pytest.approx(run.record["test_accuracy"])
    weights = tmp_path / "run" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match=r"weights\.safetensors is not the file that run\.json"):
        load_run(tmp_path / "run")


def test_a_failed_write_leaves_the_old_record_and_no_rest(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    record = {"schema": 1, "config": {}, "weights_sha256": ""}
    records.write_record(path, record)

    def full(*_paths):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
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


def test_divergence_stops_with_a_diagnosis(tmp_path):
    config = load_config("digits-float", [*TINY, "optimizer.lr=1e30"])
    with pytest.raises(TrainingDiverged, match=r"diverged in epoch 1: .* lower optimizer\.lr"):
        run_experiment(config, tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_float64_student_is_distilled_in_float64():
    config = load_config("digits-ffa", TINY)
    generator = torch.Generator().manual_seed(0)
    teacher, student = (
        preact_resnet(config.model, in_channels=1, classes=10, generator=generator).double()
        for _ in range(2)
    )
    images = torch.randn(60, 1, 8, 8, generator=generator, dtype=torch.float64)
    first, last = distill(teacher, student, images, config)
    assert last.loss < first.loss
    assert student.stem[0].weight.dtype == torch.float64


def test_missing_and_unneeded_parts_are_refused():
    config = load_config("digits-kd", TINY)
    generator = torch.Generator().manual_seed(0)
    student, teacher = (
        preact_resnet(config.model, in_channels=1, classes=10, generator=generator)
        for _ in range(2)
    )
    images = torch.zeros(4, 1, 8, 8)
    with pytest.raises(
        ValueError, match=r"labels is given, but no term uses it: .* objective\.label"
    ):
        distill(teacher, student, images, config, labels=torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"teacher is None, which objective\.kd or"):
        fit(student, images, config, streams=make_streams(0), prepare=lambda batch, _: batch)


def test_probes_are_fresh_at_every_call_and_exact_fa_draws_none():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, 4, 5, 5, generator=generator)
    fast, exact = (
        load_config(name).objective.fa for name in ("digits-ffa", "digits-fa")
    )  # fmt: skip
    assert affinity_term(*maps, fast, generator) != affinity_term(*maps, fast, generator)
    before = generator.get_state()
    assert affinity_term(*maps, exact, generator) == fa_loss(*maps)
    assert torch.equal(generator.get_state(), before)


def test_softened_distillation_equals_the_sum_written_out():
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 5, 10, generator=generator, dtype=torch.float64)
    p, q = (torch.softmax(logits / 3, 1) for logits in (teacher, student))
    expected = 9 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(
        distillation(student, teacher, KlConfig(weight=1.0, temperature=3.0)), expected
    )


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
    ],
)
def test_command_refuses_in_one_line_with_code_2(arguments, message, tmp_path, capsys):
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [["teach"], ["evaluate"], ["evaluate", "x", "--threads=0"]])
def test_unknown_arguments_are_refused_in_one_line_with_code_2(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert capsys.readouterr().err.count("\n") == 1
