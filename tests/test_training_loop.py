"""The loop, its hooks, what it needs, its terms, and the state that a checkpoint holds."""

from functools import partial

import pytest
import torch
from networks import images, small_resnet
from tiny_runs import tiny, training

from faqd_train import distill, fa_loss
from faqd_train.config.objective import KlConfig
from faqd_train.training.checkpoints import pack, unpack
from faqd_train.training.loop import fit
from faqd_train.training.objective import affinity_term, distillation
from faqd_train.training.signals import Interrupted

LABELS = torch.arange(50) % 10


def learning(*settings, seed=0):
    return training(
        tiny("digits-float", *settings), small_resnet(seed), images(count=50), labels=LABELS
    )


def test_hooks_see_every_step_and_epoch():
    steps, epochs = [], []
    state = fit(learning(), on_step=lambda t: steps.append(t.position), on_epoch=epochs.append)
    assert steps == [(1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (3, 0)]
    assert epochs == state.history
    assert [epoch.epoch for epoch in epochs] == [1, 2]


def test_a_training_that_is_stopped_may_go_on():
    whole, parts = learning(), learning()
    fit(whole)
    reasons = iter([None, None, None, "a whim"])
    with pytest.raises(Interrupted, match="a whim came in epoch 2, step 1"):
        fit(parts, stop=lambda: next(reasons))
    fit(parts)
    expected = whole.task.student.state_dict()
    for name, values in parts.task.student.state_dict().items():
        assert torch.equal(values, expected[name]), name


def test_a_float64_student_is_distilled_in_float64():
    teacher, student = small_resnet(0).double(), small_resnet(1).double()
    first, last = distill(teacher, student, images(count=60).double(), tiny("digits-ffa"))
    assert last.loss < first.loss
    assert student.stem[0].weight.dtype == torch.float64


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("digits-kd", {"labels": LABELS}, r"labels is given, but no term uses it: .* add objectiv"),
        ("digits-kd", {}, r"teacher is None, which objective\.kd or"),
        ("digits-float", {}, r"labels is None, which objective\.label needs: give it or set"),
        ("digits-float", {"labels": LABELS, "teacher": 1}, "teacher is given, but no term uses it"),
    ],
)
def test_missing_and_unneeded_parts_are_refused(name, given, message):
    start = partial(training, tiny(name), small_resnet(0), images(count=50))
    if name == "digits-kd" and given:
        start = partial(distill, small_resnet(1), small_resnet(0), images(count=50), tiny(name))
    with pytest.raises(ValueError, match=message):
        start(**given)


def test_cuda_graphs_on_a_cpu_are_refused_in_one_sentence():
    message = r"run\.cuda_graph is true on cpu with 1 processes; .* set run\.cuda_graph=false, or"
    with pytest.raises(ValueError, match=message):
        learning("run.cuda_graph=true")
    config = tiny("digits-kd", "run.cuda_graph=true")
    with pytest.raises(ValueError, match=message):
        distill(small_resnet(1), small_resnet(0), images(count=50), config)


def test_probes_are_fresh_at_every_call_and_exact_fa_draws_none():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, 4, 5, 5, generator=generator)
    fast, exact = (tiny(name).objective.fa for name in ("digits-ffa", "digits-fa"))
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


def saved(state):
    """Return a state's tree as it comes back from a file."""
    return unpack(pack(state.to_tree()))


def test_restored_momentum_lies_in_memory_as_its_weights_do():
    first, second = (learning("run.channels_last=true") for _ in range(2))
    first.step()
    second.state.restore(saved(first.state))
    moments = 0
    for weights, kept in second.state.optimizer.state.items():
        assert kept["momentum_buffer"].stride() == weights.stride()
        moments += weights.ndim == 4 and not weights.is_contiguous()
    assert moments > 0
    for training_ in (first, second):
        training_.step()
    expected = first.task.student.state_dict()
    for name, values in second.task.student.state_dict().items():
        assert torch.equal(values, expected[name]), name


def test_probes_start_anew_where_another_kind_of_device_drew_them():
    state, resumed = learning().state, learning().state
    torch.rand(5, generator=state.streams.probes)
    torch.rand(5, generator=state.streams.augment)
    tree, start = saved(state), resumed.streams.probes.get_state()
    resumed.restore(tree)
    assert torch.equal(resumed.streams.probes.get_state(), tree["generators"]["probes"])
    resumed = learning().state
    other = {"probes": torch.zeros(16, dtype=torch.uint8)}  # a CUDA generator's has 16 bytes
    resumed.restore(tree | {"generators": tree["generators"] | other})
    assert torch.equal(resumed.streams.probes.get_state(), start)
    assert torch.equal(resumed.streams.augment.get_state(), tree["generators"]["augment"])
