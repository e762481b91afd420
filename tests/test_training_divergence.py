"""What goes wrong in a training is named: which value, in which epoch, at which step."""

import math

import pytest
import torch
from networks import images, small_resnet
from tiny_runs import tiny, train, training
from torch import nn

from faqd_train import distill
from faqd_train.training.divergence import CHECK_EVERY, EXPLOSION, Guard, TrainingDiverged
from faqd_train.training.loop import fit


class PoisonedGradient(torch.autograd.Function):
    """The identity, whose derivative is NaN where it is poisoned."""

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
    teacher, student = Fragile(small_resnet(0), None), Fragile(small_resnet(1), wrong)
    with pytest.raises(TrainingDiverged, match=f"diverged in epoch 1: {diagnosis} lower"):
        distill(teacher, student, images(count=120), tiny(name, *taps))


def watch(guard, kd, loss=1.0):
    fine = torch.tensor(1.0)
    terms = {"kd": torch.tensor(kd), "fa": fine}
    guard.watch(terms, torch.tensor(loss), fine, {"a logit": fine})


def test_a_guard_names_the_first_of_the_steps_between_two_looks():
    guard = Guard(torch.device("cpu"))
    guard.start_epoch(0, None)
    assert guard.first_loss is None
    watch(guard, 1.0, loss=2.0)
    guard.check(1)
    assert guard.first_loss == 2.0
    for step in range(2, CHECK_EVERY):
        kd = math.nan if step >= 7 else 1.0
        loss = 2 * EXPLOSION if step == 4 else 1.0  # as large as is accepted
        watch(guard, kd, loss)
    with pytest.raises(TrainingDiverged, match="epoch 5: the term kd is not finite at step 7"):
        guard.check(5)


def test_a_resumed_guard_counts_on_and_compares_with_the_first_loss_of_all():
    guard = Guard(torch.device("cpu"))
    guard.start_epoch(10, 2.0)
    watch(guard, 1.0, loss=2.01 * EXPLOSION)
    with pytest.raises(TrainingDiverged, match="exceeds 1,000 times its start at step 11"):
        guard.check(3)


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_last_step_that_explodes_is_no_finished_run(epochs, tmp_path):
    """One step per epoch: with one epoch, no loss is taken after the only step."""
    options = ["optimizer.lr=1e30", "optimizer.batch_size=60", f"optimizer.epochs={epochs}"]
    with pytest.raises(
        TrainingDiverged, match=f"epoch {epochs}: .* is not finite at step {3 - epochs}"
    ):
        train(tmp_path / "run", *options, name="digits-float")
    assert not (tmp_path / "run" / "run.json").exists()


def test_last_weights_that_are_not_finite_are_named():
    """An unused buffer enters no loss, so that only a look at the weights finds it."""
    network = small_resnet()
    network.register_buffer("unused", torch.tensor([0.0, math.inf]))
    labels = torch.zeros(40, dtype=torch.int64)
    learning = training(tiny("digits-float"), network, images(count=40), labels=labels)
    with pytest.raises(TrainingDiverged, match=r"student\.unused is not finite at step 3; lower"):
        fit(learning)
