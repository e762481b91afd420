"""The one-sided gradient of FFA: autograd of its surrogate, and FA's gradient as its mean."""

import pytest
import torch
from right_losses import torch_unit
from torch_losses import draw_maps, values_and_gradient

from faqd_math.testing import assert_mean
from faqd_train.losses.affinity import fa_loss, ffa_loss, sample_probes


def surrogate(student, teacher, probes, *, reduction, factor=2.0):
    """Return FFA of each sample, whose gradient is that of a constant XZ, times the factor."""
    assert reduction == "none"
    x, y = torch_unit(student), torch_unit(teacher)
    az = x.mT @ (x @ probes).detach() - y.mT @ (y @ probes)
    values = az.square().sum((1, 2)) / (probes.shape[-1] * x.shape[-1] ** 2)
    return values.detach() + factor * (values - values.detach())


def maps_with_dead_pixels(*shape):
    student, teacher = draw_maps(*shape)
    student[0, :, 1, 2] = teacher[0, :, 0] = 0
    return student, teacher[:, 1:]


@pytest.mark.parametrize("batch", [None, 3], ids=["shared probes", "probes for each sample"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_is_autograd_of_the_surrogate(batch, layout):
    student, teacher = maps_with_dead_pixels(3, 4, 4, 5)
    student = student.contiguous(memory_format=layout)
    z = sample_probes(20, 6, generator=torch.Generator().manual_seed(1), batch=batch)
    expected = values_and_gradient(surrogate, student, teacher, probes=z)
    found = values_and_gradient(ffa_loss, student, teacher, probes=z, gradient="one-sided")
    paper = values_and_gradient(ffa_loss, student, teacher, probes=z)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    assert torch.equal(found[0], paper[0])
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(paper, expected, rtol=0.1, atol=1e-14)


@pytest.mark.parametrize("wrong", [None, 1.0, 1.9], ids=["ours", "not doubled", "factor 1.9"])
def test_its_mean_is_the_gradient_of_fa(wrong):
    """20,000 draws, one for each sample of a batch; a false alarm in all entries has 1e-6."""
    student, teacher = maps_with_dead_pixels(1, 4, 3, 4)
    z = sample_probes(12, 2, generator=torch.Generator().manual_seed(2), batch=20_000)
    copies = [maps.expand(len(z), -1, -1, -1) for maps in (student, teacher)]
    options = {"gradient": "one-sided"} if wrong is None else {"factor": wrong}
    loss = ffa_loss if wrong is None else surrogate
    _, gradients = values_and_gradient(loss, *copies, probes=z, **options)
    _, exact = values_and_gradient(fa_loss, student, teacher)

    def check():
        for entries, mean in zip(gradients.flatten(1).T, exact.flatten(), strict=True):
            assert_mean(entries.numpy(), mean.item(), false_alarm=1e-6 / exact.numel())

    if wrong is None:
        check()
    else:
        with pytest.raises(AssertionError, match="mean"):
            check()
