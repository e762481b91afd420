"""On CUDA: the losses are the CPU's, and small runs finish, resume and stay finite."""

import pytest
import torch
from tiny_runs import killed_after, train

from faqd_train import fa_loss, ffa_loss
from faqd_train.benchmark.running import FAST
from faqd_train.losses.affinity import sample_probes
from faqd_train.losses.probes import PROBE_LAWS, generator_on
from faqd_train.quantization.weights import project_weights
from faqd_train.training import checkpoints

pytestmark = [
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine"
    ),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of torch, by torch, as it compiles
]

# Of float64 sums in another order, far above 2⁻⁵³ times their lengths of some hundreds.
SUMS = 1e-11


def maps():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(3, c, 6, 5, generator=generator, dtype=torch.float64) for c in (4, 7)]


def value_and_gradient(loss, device, **options):
    student, teacher = (features.to(device) for features in maps())
    student.requires_grad_()
    value = loss(student, teacher, **options)
    torch.autograd.backward(value)
    return value.detach().cpu(), student.grad.cpu()


@pytest.mark.parametrize("options", [{"method": "gram"}, {"method": "direct"}, {"order": 1}])
def test_fa_is_that_of_the_cpu(options):
    results = [value_and_gradient(fa_loss, device, **options) for device in ("cpu", "cuda")]
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=SUMS, atol=SUMS)


@pytest.mark.parametrize("order", [1, 2])
def test_ffa_with_given_probes_is_that_of_the_cpu(order):
    probes = sample_probes(30, 5, generator=torch.Generator().manual_seed(1))
    results = [
        value_and_gradient(ffa_loss, device, order=order, probes=probes.to(device))
        for device in ("cpu", "cuda")
    ]
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=SUMS, atol=SUMS)


@pytest.mark.parametrize("law", PROBE_LAWS)
def test_probes_are_drawn_on_the_device_and_repeat_with_the_seed(law):
    device = torch.device("cuda")
    first, again = (
        sample_probes(
            9, 4, law=law, generator=generator_on(device, torch.Generator().manual_seed(2))
        )
        for _ in range(2)
    )
    assert first.device.type == "cuda"
    assert torch.equal(first, again)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_projected_weights_are_those_of_the_cpu(bits):
    weights = torch.randn(8, 50, generator=torch.Generator().manual_seed(3))
    projected = project_weights(weights.cuda(), bits).cpu()
    # One rounding of the step to float32 on either side.
    torch.testing.assert_close(projected, project_weights(weights, bits), rtol=2**-22, atol=0)


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["quantization.weights.projection=exact"],
        ["run.precision=bfloat16", "run.teacher.precision=float32"],
        ["run.channels_last=true"],
        ["run.cuda_graph=true"],
        FAST,
    ],
    ids=["defaults", "exact projection", "bfloat16", "channels-last", "graph", "all fast"],
)
@pytest.mark.parametrize("name", ["digits-fa", "digits-ffa"])
def test_a_run_finishes_with_finite_numbers(name, settings, teacher, tmp_path):
    record = train(tmp_path, *settings, name=name, teacher=teacher, device="cuda")
    for epoch in record["epochs"]:  # the loop stops at what is not finite
        assert 0 < epoch["gradient_norm"] < float("inf")
    assert 0 <= record["test_accuracy"] <= 1
    assert record["environment"]["device"] == torch.cuda.get_device_name()


def test_a_run_cut_off_resumes_where_its_probes_were(teacher, tmp_path, monkeypatch):
    """Its weights come out nearly the same: sums on CUDA have no fixed order."""
    genuine, probes = checkpoints.Checkpoints.save, []

    def save(self, state):
        probes.append(state["generators"]["probes"])
        genuine(self, state)

    monkeypatch.setattr(checkpoints.Checkpoints, "save", save)
    options = {"teacher": teacher, "device": "cuda"}
    whole = train(tmp_path / "whole", **options)
    with killed_after(1):
        train(tmp_path / "cut", **options)
    resumed = train(tmp_path / "cut", resume=True, **options)
    first, second, first_again, second_again = probes
    assert torch.equal(first, first_again)
    assert torch.equal(second, second_again)
    assert not torch.equal(first, second)
    ours, theirs = (record["epochs"][1] for record in (resumed, whole))
    assert ours["order_sha256"] == theirs["order_sha256"]
