"""What the engine watches, reports and keeps; precision, layout and warm-up."""

import json
import math
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from faqd_train import distill, load_config, load_run, run_experiment
from faqd_train.cli import main
from faqd_train.networks.precision import find_device
from faqd_train.networks.resnet import preact_resnet
from faqd_train.runs.load import evaluate
from faqd_train.training.divergence import CHECK_EVERY, EXPLOSION, Guard, TrainingDiverged

TINY = ["data.limit=60", "model.widths=[4, 4, 8]", "optimizer.batch_size=20", "optimizer.epochs=2"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "teacher"
    run_experiment(load_config("digits-teacher", TINY), folder)
    return folder


def student_of(teacher, out, *overrides, name="digits-ffa"):
    return run_experiment(load_config(name, [*TINY, *overrides]), out, teacher=teacher)


def test_best_and_last_weights_are_kept_and_tested(teacher, tmp_path):
    # With this seed the accuracy rises, and falls again.
    record = student_of(teacher, tmp_path, "optimizer.epochs=8", "run.seed=3")
    accuracies = [epoch["validation_accuracy"] for epoch in record["epochs"]]
    best = record["best"]
    assert best["validation_accuracy"] == max(accuracies) > accuracies[-1]
    assert best["epoch"] == 1 + accuracies.index(max(accuracies))  # the first of equals
    assert record["validation_accuracy"] == accuracies[-1]
    for weights, told in (("best", best), ("last", record)):
        run = load_run(tmp_path, weights)
        for split in ("validation", "test"):
            assert evaluate(run.network, run.config, split) == told[f"{split}_accuracy"]


def test_evaluate_tests_the_weights_asked_for(teacher, tmp_path, capsys):
    record = student_of(teacher, tmp_path, "optimizer.epochs=8", "run.seed=3")
    assert main(["evaluate", str(tmp_path), "--split=validation", "--weights=best"]) == 0
    share = record["best"]["validation_accuracy"]
    assert capsys.readouterr().out == f"accuracy: validation {share:.2%}\n"


def test_metrics_are_there_as_each_epoch_ends(teacher, tmp_path):
    seen = []

    def read(epoch):
        lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
        seen.append([json.loads(line)["epoch"] for line in lines])
        assert json.loads(lines[-1])["loss"] == epoch.loss

    config = load_config("digits-ffa", TINY)
    record = run_experiment(config, tmp_path, teacher=teacher, on_epoch=read)
    assert seen == [[1], [1, 2]]
    assert all(epoch["gradient_norm"] > 0 for epoch in record["epochs"])


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
    record = student_of(teacher, tmp_path, "run.tensorboard=true")
    expected = [(str(tmp_path / "tensorboard"), 1)]
    for epoch in record["epochs"]:
        numbers = {key: epoch[key] for key in ("loss", "lr", "gradient_norm")}
        numbers |= {f"terms/{name}": value for name, value in epoch["terms"].items()}
        numbers["validation_accuracy"] = epoch["validation_accuracy"]
        expected += [(name, value, epoch["epoch"]) for name, value in numbers.items()]
        expected.append("flushed")
    assert drawn == [*expected, "closed"]


def test_tensorboard_that_is_not_installed_is_asked_for_in_one_sentence(
    teacher, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match=r"run\.tensorboard is true, but TensorBoard is not inst"):
        student_of(teacher, tmp_path / "run", "run.tensorboard=true")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("shift", "refused"), [(0.001, False), (-0.001, False), (0.00101, True), (-0.002, True)]
)
def test_a_teacher_is_tested_again_when_it_is_loaded(teacher, tmp_path, shift, refused):
    """Its record is altered, which is as if its data or the arithmetic were."""
    altered = tmp_path / "teacher"
    altered.mkdir()
    record = json.loads((teacher / "run.json").read_text())
    record["validation_accuracy"] += shift
    (altered / "run.json").write_text(json.dumps(record))
    weights = (teacher / "weights.safetensors").read_bytes()
    (altered / "weights.safetensors").write_bytes(weights)
    if refused:
        with pytest.raises(ValueError, match=r"the teacher's validation accuracy is .* here in"):
            student_of(altered, tmp_path / "student")
        assert not (tmp_path / "student").exists()
    else:
        student_of(altered, tmp_path / "student")


def test_the_rate_rises_before_it_falls(teacher, tmp_path):
    record = student_of(
        teacher, tmp_path, "optimizer.epochs=6", "optimizer.warmup_epochs=2", "optimizer.lr=0.3"
    )
    cosine = [0.15 * (1 + math.cos(math.pi * i / 4)) for i in range(4)]
    assert [epoch["lr"] for epoch in record["epochs"]] == pytest.approx([0.1, 0.2, *cosine])


def test_a_warmup_without_end_is_refused():
    with pytest.raises(ValueError, match=r"optimizer\.warmup_epochs is 2 with optimizer\.epochs 2"):
        load_config("digits", [*TINY, "optimizer.warmup_epochs=2"])


def test_mixed_precision_trains_nearly_as_single_precision_does(teacher, tmp_path):
    # Of a float student: bfloat16 moves activations across the thresholds of a quantized one.
    options = ["quantization.weights=none", "quantization.activations=none"]
    single, mixed = (
        student_of(teacher, tmp_path / p, *options, f"run.precision={p}", name="digits-fa")
        for p in ("float32", "bfloat16")
    )
    assert single["weights_sha256"] != mixed["weights_sha256"]
    for one, other in zip(single["epochs"], mixed["epochs"], strict=True):
        # bfloat16 rounds to 8 bits, 0.4 %, in each of eight layers forward and backward.
        assert other["loss"] == pytest.approx(one["loss"], rel=0.03)
    weights = load_file(tmp_path / "bfloat16" / "weights.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32, torch.int64}


def test_a_teacher_in_low_precision_teaches_nearly_the_same(teacher, tmp_path):
    single, low = (
        student_of(teacher, tmp_path / p, f"run.teacher.precision={p}", name="digits-fa")
        for p in ("float32", "bfloat16")
    )
    assert single["weights_sha256"] != low["weights_sha256"]
    assert low["epochs"][0]["loss"] == pytest.approx(single["epochs"][0]["loss"], rel=0.03)


def test_channels_last_computes_the_same(teacher, tmp_path):
    options = ["quantization.weights=none", "quantization.activations=none"]
    usual, last = (
        student_of(teacher, tmp_path / p, *options, f"run.channels_last={p}", name="digits-fa")
        for p in ("false", "true")
    )
    for one, other in zip(usual["epochs"], last["epochs"], strict=True):
        # Float32 sums in another order, over six steps of training.
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-4)


def test_a_device_that_is_not_there_is_refused(tmp_path, capsys):
    with pytest.raises(ValueError, match="device is 'abacus', which torch does not find"):
        find_device("abacus")
    command = ["teacher", "digits-teacher", "--out", str(tmp_path / "run"), "--device", "cuda:99"]
    assert main(command) == 2
    assert "device is 'cuda:99', which torch does not find" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


class PoisonedGradient(torch.autograd.Function):
    """The identity, whose derivative is NaN from the call of the given number on."""

    @staticmethod
    def forward(ctx, inputs, poisoned):
        ctx.poisoned = poisoned
        return inputs.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * (math.nan if ctx.poisoned else 1), None


class Fragile(nn.Module):
    """A network that goes wrong at its third batch, in one of several ways."""

    def __init__(self, network, wrong):
        super().__init__()
        self.network, self.wrong, self.batches = network, wrong, 0

    def forward(self, images):
        self.batches += torch.is_grad_enabled()  # in training
        third = self.batches == 3
        logits = self.network(images)
        if third and self.wrong == "logits":
            return logits * math.inf
        if third and self.wrong == "large":
            return logits + 1e6
        return PoisonedGradient.apply(logits, third and self.wrong == "gradient")


@pytest.mark.parametrize(
    ("wrong", "name", "diagnosis"),
    [
        ("logits", "digits-kd", "the term kd is not finite at step 3;"),
        ("logits", "digits-fa", "a logit of the student is not finite at step 3;"),
        ("gradient", "digits-kd", "the gradient is not finite at step 3;"),
        ("large", "digits-kd", "the loss exceeds 1,000 times its start at step 3;"),
    ],
)
def test_the_first_thing_that_goes_wrong_is_named(wrong, name, diagnosis):
    taps = ["objective.fa.taps=['network.stage1']"] if name == "digits-fa" else []
    config = load_config(name, [*TINY, *taps])
    generator = torch.Generator().manual_seed(0)
    teacher, student = (
        Fragile(
            preact_resnet(config.model, in_channels=1, classes=10, generator=generator),
            wrong if is_student else None,
        )
        for is_student in (False, True)
    )
    images = torch.randn(120, 1, 8, 8, generator=generator)
    with pytest.raises(TrainingDiverged, match=f"diverged in epoch 1: {diagnosis} lower"):
        distill(teacher, student, images, config)


def test_a_guard_tells_the_first_of_the_steps_between_two_looks():
    guard, fine, start = Guard(), torch.tensor(1.0), torch.tensor(2.0)
    guard.watch(1, {"kd": fine}, fine, fine, start)
    guard.check(1)
    for step in range(2, CHECK_EVERY):
        kd = torch.tensor(math.nan) if step >= 7 else fine
        loss = start * EXPLOSION if step == 4 else fine  # as large as is let be
        guard.watch(step, {"kd": kd, "fa": fine}, loss, fine, start)
    with pytest.raises(TrainingDiverged, match="epoch 5: the term kd is not finite at step 7"):
        guard.check(5)
