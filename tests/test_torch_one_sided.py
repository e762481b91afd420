"""The one-sided gradient of FFA: autograd of its surrogate, and FA's gradient as its mean."""

import pytest
import torch

from faqd_math.testing import assert_mean
from faqd_train.losses.affinity import fa_loss, ffa_loss, sample_probes


def draw(*shape, channels=(4, 3), dtype=torch.float64):
    """Return a student and a teacher, with dead pixels in both of the first sample."""
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(shape[0], c, *shape[1:], generator=generator).to(dtype) for c in channels]
    maps[0][0, :, 1, 2] = maps[1][0, :, 0] = 0
    return maps


def unit(maps):
    pixels = maps.flatten(2)
    dead = (pixels == 0).all(1, keepdim=True)
    return pixels.masked_fill(dead, 0) / pixels.masked_fill(dead, 1).norm(dim=1, keepdim=True)


def surrogate(student, teacher, probes, *, factor=2.0):
    """Return FFA of each sample, whose gradient is that of a constant XZ, times the factor."""
    x, y = unit(student), unit(teacher)
    az = x.mT @ (x @ probes).detach() - y.mT @ (y @ probes)
    values = az.square().sum((1, 2)) / (probes.shape[-1] * x.shape[-1] ** 2)
    return values.detach() + factor * (values - values.detach())


def one_sided(student, teacher, probes):
    return ffa_loss(student, teacher, probes=probes, gradient="one-sided", reduction="none")


def gradient_of(loss, student, *rest):
    student = student.clone().requires_grad_()
    values = loss(student, *rest)
    weights = torch.arange(1, len(values) + 1)  # each sample's values weighted in another way
    (weights * values).sum().backward()
    return student.grad


@pytest.mark.parametrize("batch", [None, 3], ids=["shared probes", "probes for each sample"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_is_autograd_of_the_surrogate(batch, layout):
    student, teacher = draw(3, 4, 5)
    student = student.contiguous(memory_format=layout)
    z = sample_probes(20, 6, generator=torch.Generator().manual_seed(1), batch=batch)
    found, expected = (gradient_of(loss, student, teacher, z) for loss in (one_sided, surrogate))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    paper = gradient_of(lambda *args: ffa_loss(*args, probes=z, reduction="none"), student, teacher)
    assert not torch.allclose(paper, expected, rtol=0.1)
    assert torch.equal(
        one_sided(student, teacher, z), ffa_loss(student, teacher, probes=z, reduction="none")
    )


@pytest.mark.parametrize("gap", [1.0, 1e-5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_keeps_1e_4_of_the_largest_entry(dtype, gap):
    student, teacher = draw(3, 4, 5, channels=(4, 4), dtype=torch.float32)
    student, teacher = student.to(dtype), (student + gap * (teacher - student)).to(dtype)
    z = sample_probes(20, 6, generator=torch.Generator().manual_seed(1)).float()
    found = gradient_of(one_sided, student, teacher, z)
    expected = gradient_of(surrogate, *(t.double() for t in (student, teacher, z)))
    error = (found - expected).abs().amax((1, 2, 3))
    allowed = (1e-4 + torch.finfo(dtype).eps) * expected.abs().amax((1, 2, 3))
    # Of maps that the format makes equal, what float64 leaves.
    assert (error <= allowed + torch.finfo(dtype).smallest_normal + 1e-15).all()


@pytest.mark.parametrize("wrong", [None, 1.0, 1.9], ids=["ours", "not doubled", "factor 1.9"])
def test_its_mean_is_the_gradient_of_fa(wrong):
    """20,000 draws, one for each sample of a batch; a false alarm in all entries has 1e-6."""
    student, teacher = draw(1, 3, 4)
    draws = 20_000
    z = sample_probes(12, 2, generator=torch.Generator().manual_seed(2), batch=draws)
    maps = [m.expand(draws, -1, -1, -1).clone().requires_grad_() for m in (student, teacher)]
    if wrong is None:
        values = one_sided(maps[0], teacher.expand_as(maps[1]), z)
    else:
        values = surrogate(maps[0], teacher.expand_as(maps[1]), z, factor=wrong)
    (gradients,) = torch.autograd.grad(values.sum(), maps[0])
    (exact,) = torch.autograd.grad(fa_loss(student.requires_grad_(), teacher), student)

    def check():
        for entries, mean in zip(gradients.flatten(1).T, exact.flatten(), strict=True):
            assert_mean(entries.numpy(), mean.item(), false_alarm=1e-6 / exact.numel())

    if wrong is None:
        check()
    else:
        with pytest.raises(AssertionError, match="mean"):
            check()


def test_order_one_has_none():
    with pytest.raises(ValueError, match="gradient is 'one-sided' with order 1, for which it"):
        ffa_loss(*draw(1, 3, 4), order=1, gradient="one-sided", generator=torch.Generator())
    with pytest.raises(ValueError, match="gradient is 'both'; accepted are 'paper', 'one-sided'"):
        ffa_loss(*draw(1, 3, 4), gradient="both", generator=torch.Generator())
