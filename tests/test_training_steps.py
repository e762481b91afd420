"""A training step has static shapes, asks the device nothing, and may be a CUDA graph."""

import pytest
import torch
from networks import images, small_resnet
from stand_ins import NoWaiting, plain_graphs, static_losses  # noqa: F401, fixtures
from tiny_runs import tiny, training

from faqd_train import calibrate
from faqd_train.losses import affinity
from faqd_train.networks.adapters import make_adapters
from faqd_train.quantization.model import quantize_as_configured
from faqd_train.training.loop import fit
from faqd_train.training.seeds import make_streams
from faqd_train.training.teacher import make_teacher_pass

METHODS = {
    "labels": ["digits-qat"],
    "kd": ["digits-kd"],
    "kd by KL": ["digits-kd", "objective.kd.loss=kl", "objective.kd.temperature=4"],
    "fa": ["digits-fa"],
    "ffa": ["digits-ffa"],
    "ffa, one-sided": ["digits-ffa", "objective.fa.probes.gradient=one-sided"],
    "per channel, blended": [
        "digits-fa",
        "quantization.weights.per_channel=true",
        "quantization.weights.blend=0.1",
    ],
    "1 bit": ["digits-kd", "bits=1w4a"],
    "float": ["digits-float"],
}
IMAGES = 50  # in batches of 20, so that the last one is smaller
# Powers of two, so that a graph's rates, which it reads in float32, are those of plain steps.
RATES = ["optimizer.lr=0.125", "optimizer.step_factor=0.015625"]
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def start(method, *settings):
    """Return a training in float64, where rounding moves no activation to another level."""
    name, *own = method
    config = tiny(name, *own, "optimizer.epochs=3", *RATES, *settings)
    inputs, streams = images(count=IMAGES).double(), make_streams(0)
    student = quantize_as_configured(small_resnet(0), config.quantization)
    calibrate(student.double(), inputs)
    parts = {}
    if config.objective.needs_teacher:
        network = small_resnet(1).double()
        parts["teacher"] = make_teacher_pass(network, config, lambda: inputs)
    if config.objective.fa is not None:
        taps = config.objective.taps
        parts["adapters"] = make_adapters(
            small_resnet(0), small_resnet(1), images(count=1), taps, streams.adapters
        ).double()
    if config.objective.label is not None:
        parts["labels"] = torch.arange(IMAGES) % 10
    return training(config, student, inputs, streams=streams, **parts)


@pytest.mark.usefixtures("static_losses")
@every_method
def test_a_step_asks_the_device_nothing(method):
    learning = start(method)
    learning.step()  # that of an epoch's start draws the order
    with NoWaiting():
        learning.step()
    assert learning.position == (1, 2)


@pytest.mark.usefixtures("static_losses")
@pytest.mark.parametrize(
    "question",
    [
        lambda loss: loss * loss.item(),
        lambda loss: loss if loss > 0 else -loss,
        lambda loss: loss * torch.ones(3, dtype=bool)[torch.tensor([True, False, True])].sum(),
        lambda loss: loss.expand(2)[torch.ones(2, dtype=bool)].sum(),
        lambda loss: loss * torch.tensor(1.0),
        lambda loss: (loss.detach().to("meta"), loss)[1],
    ],
)
def test_a_question_to_the_device_would_be_noticed(question, monkeypatch):
    genuine = affinity.fa_loss
    monkeypatch.setattr(
        "faqd_train.training.objective.fa_loss", lambda *a, **o: question(genuine(*a, **o))
    )
    learning = start(METHODS["fa"])
    learning.step()
    with NoWaiting(), pytest.raises(AssertionError):
        learning.step()


@pytest.mark.usefixtures("static_losses")
@every_method
def test_graphed_steps_are_plain_steps(method, plain_graphs):  # noqa: F811
    plain, graphed = (start(method, f"run.cuda_graph={graph}") for graph in ("false", "true"))
    records = [fit(learning).history for learning in (plain, graphed)]
    has_teacher = plain.task.teacher is not None
    # Nine steps, of which three come before the capture and two more are of the smaller batch.
    assert [graph.replays for graph in plain_graphs if graph.calls] == [4] * (1 + has_teacher)
    for expected, found in zip(*records, strict=True):
        assert found.order_sha256 == expected.order_sha256
        assert found.lr == expected.lr
        # Sums in another order, over nine steps.
        assert found.loss == pytest.approx(expected.loss, rel=1e-9)
        assert found.gradient_norm == pytest.approx(expected.gradient_norm, rel=1e-9)
    expected = plain.task.student.state_dict()
    for name, values in graphed.task.student.state_dict().items():
        torch.testing.assert_close(values, expected[name], rtol=1e-7, atol=1e-9)
