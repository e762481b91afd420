"""Gradients, dead and extreme pixels, fresh probes and bounded memory of the torch losses."""

from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from faqd_math.testing import assert_mean
from faqd_train.losses.affinity import fa_loss, ffa_loss, sample_probes
from faqd_train.losses.direct import BLOCK
from faqd_train.losses.probes import PROBE_LAWS

EXACT = {
    "auto": fa_loss,
    "gram": partial(fa_loss, method="gram"),
    "direct": partial(fa_loss, method="direct"),
    "order 1": partial(fa_loss, order=1),
}


def draw_maps(*shape, seed=0, dtype=torch.float64):
    """Return a student and a teacher of standard normal entries."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *shape, generator=generator, dtype=dtype).unbind()


def draw_probes(n, k=5, **options):
    return sample_probes(n, k, generator=torch.Generator().manual_seed(1), **options)


def all_losses(n):
    """Return every path as a function (student, teacher, **options), FFA with fixed probes."""
    probes = draw_probes(n)
    fast = {f"ffa {order}": partial(ffa_loss, order=order, probes=probes) for order in (1, 2)}
    return EXACT | fast


def gradient_of(loss, student, teacher):
    student = student.clone().requires_grad_()
    loss(student, teacher).backward()
    return student.grad


def test_double_backward_is_refused():
    student, teacher = draw_maps(3, 2, 2)
    loss = fa_loss(student.requires_grad_(), teacher)
    with pytest.raises(RuntimeError, match="differentiated only once"):
        torch.autograd.grad(loss, student, create_graph=True)


def test_no_gradient_is_computed_without_grad_mode():
    student, teacher = draw_maps(3, 2, 2)
    student.requires_grad_()
    with torch.no_grad():
        assert not fa_loss(student, teacher).requires_grad
    assert fa_loss(student, teacher).requires_grad


@pytest.mark.parametrize("name", all_losses(1))
def test_dead_pixels_give_finite_values_and_zero_gradient(name):
    student, teacher = draw_maps(2, 3, 4, 4)
    student[0, :, 1, 2] = student[1, :, 0] = teacher[0, :, 1, 2] = teacher[1, :, 3, 3] = 0
    gradient = gradient_of(all_losses(16)[name], student, teacher)
    dead = (student == 0).all(dim=1)
    assert gradient.isfinite().all()
    assert (gradient.movedim(1, -1)[dead] == 0).all()
    assert (gradient.movedim(1, -1)[~dead] != 0).any(dim=-1).all()


@pytest.mark.parametrize("name", all_losses(1))
@pytest.mark.parametrize("exponent", [-1000, 1000])
def test_squares_that_overflow_or_underflow_leave_the_loss_unchanged(name, exponent):
    loss = all_losses(16)[name]
    student, teacher = draw_maps(2, 3, 4, 4)
    scale = 2.0**exponent
    value, scaled = loss(student, teacher), loss(scale * student, scale * teacher)
    # Pixels are normalised in another way where squares leave the range: 2C + 8 roundings in each
    # of 16 terms of a sum, and in the gradient 4/N times as many products.
    torch.testing.assert_close(scaled, value, rtol=16 * 14 * 2**-53, atol=0)
    gradient = gradient_of(loss, student, teacher)
    scaled = gradient_of(loss, scale * student, teacher) * scale
    torch.testing.assert_close(scaled, gradient, rtol=0, atol=16 * 14 * 2**-53)


class LargestTensor(TorchDispatchMode):
    """Records the entries of the largest tensor that any operation returns."""

    entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.entries = max(self.entries, tensor.numel())
        return result


def memory_of(loss, student, teacher):
    """Return the largest tensor, forward and backward, and what autograd keeps in between."""
    kept = []

    def keep(tensor):
        kept.append(tensor.numel())
        return tensor

    student = student.clone().requires_grad_()
    with LargestTensor() as largest, torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        loss(student, teacher).backward()
    return largest.entries, sum(kept)


def naive_fa(student, teacher):
    x, y = (maps.flatten(1) / maps.flatten(1).norm(dim=0) for maps in (student, teacher))
    return (x.T @ x - y.T @ y).square().mean()


@pytest.mark.parametrize("name", all_losses(1))
def test_no_path_forms_an_affinity_matrix(name):
    n, channels = 64 * 64, 4
    student, teacher = draw_maps(channels, 64, 64)
    largest, kept = memory_of(all_losses(n)[name], student, teacher)
    in_blocks = name in ("direct", "order 1")
    # Elsewhere the largest is N×2C, N×2k or one of the maps; N² is 8 blocks.
    assert largest <= (BLOCK if in_blocks else n * 2 * max(channels, 5))
    # Autograd keeps references to the maps, both maps' pixel norms, one verdict, and of FFA the
    # probes and AZ, of Gram XXᵀ and XYᵀ.
    core = 2 * n * 5 if name.startswith("ffa") else 0 if in_blocks else 2 * channels**2
    assert kept == 2 * n * channels + 2 * n + 1 + core


def test_memory_check_sees_an_affinity_matrix():
    largest, kept = memory_of(naive_fa, *draw_maps(4, 16, 16))
    assert largest == 256**2
    assert kept >= 256**2


@pytest.mark.parametrize("law", PROBE_LAWS)
def test_probes_are_fresh_at_every_call_and_repeat_with_the_seed(law):
    student, teacher = draw_maps(3, 4, 4)

    def two_calls(seed):
        generator = torch.Generator().manual_seed(seed)
        return [ffa_loss(student, teacher, law=law, k=5, generator=generator) for _ in range(2)]

    first, second = two_calls(seed=7)
    assert first != second
    assert two_calls(seed=7) == [first, second]
    assert two_calls(seed=8)[0] != first


def test_probes_are_independent_across_the_batch():
    student, teacher = (maps.expand(2, -1, -1, -1) for maps in draw_maps(3, 4, 4))
    generator = torch.Generator().manual_seed(0)
    first, second = ffa_loss(student, teacher, generator=generator, reduction="none")
    assert first != second
    shared = draw_probes(16)
    first, second = ffa_loss(student, teacher, probes=shared, reduction="none")
    assert first == second


@pytest.mark.parametrize("shape", [(3, 4, 4), (2, 3, 4, 4)])
def test_drawn_probes_are_those_of_sample_probes(shape):
    student, teacher = draw_maps(*shape)
    batch = shape[0] if len(shape) == 4 else None
    z = sample_probes(16, 5, generator=torch.Generator().manual_seed(3), batch=batch)
    drawn = ffa_loss(student, teacher, k=5, generator=torch.Generator().manual_seed(3))
    assert torch.equal(drawn, ffa_loss(student, teacher, probes=z))


@pytest.mark.parametrize("law", PROBE_LAWS)
def test_ffa_with_fresh_probes_has_fa_as_its_mean(law):
    """P1 over 4,000 samples of one batch; false alarm 1e-6."""
    student, teacher = draw_maps(3, 3, 3)
    batch = [maps.expand(4000, -1, -1, -1) for maps in (student, teacher)]
    generator = torch.Generator().manual_seed(0)
    values = ffa_loss(*batch, k=3, law=law, generator=generator, reduction="none").numpy()
    assert_mean(values, fa_loss(student, teacher).item())
    with pytest.raises(AssertionError, match="mean"):
        assert_mean(values * 3 / 2, fa_loss(student, teacher).item())  # k − 1 in place of k
