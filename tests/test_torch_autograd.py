"""Gradients, dead and extreme pixels, fresh probes and bounded memory of the torch losses."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch_losses import NAMES, draw_maps, loss_named, values_and_gradient

from faqd_math.testing import assert_mean
from faqd_train.losses.affinity import fa_loss, ffa_loss, sample_probes
from faqd_train.losses.direct import BLOCK
from faqd_train.losses.probes import PROBE_LAWS


def test_double_backward_is_refused():
    student, teacher = draw_maps(3, 2, 2)
    loss = fa_loss(student.requires_grad_(), teacher)
    with pytest.raises(RuntimeError, match="differentiated only once"):
        torch.autograd.grad(loss, student, create_graph=True)


@pytest.mark.parametrize("name", NAMES)
def test_dead_pixels_give_finite_values_and_zero_gradient(name):
    student, teacher = draw_maps(2, 3, 4, 4)
    student[0, :, 1, 2] = student[1, :, 0] = teacher[0, :, 1, 2] = teacher[1, :, 3, 3] = 0
    _, gradient = values_and_gradient(loss_named(name, 16), student, teacher)
    dead = (student == 0).all(dim=1)
    assert gradient.isfinite().all()
    assert (gradient.movedim(1, -1)[dead] == 0).all()
    assert (gradient.movedim(1, -1)[~dead] != 0).any(dim=-1).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("exponent", [-1000, 1000])
def test_squares_that_overflow_or_underflow_leave_the_loss_unchanged(name, exponent):
    loss, scale = loss_named(name, 16), 2.0**exponent
    student, teacher = draw_maps(2, 3, 4, 4)
    values, gradient = values_and_gradient(loss, student, teacher)
    scaled_values, scaled = values_and_gradient(loss, scale * student, scale * teacher)
    # Pixels are normalised in another way where squares leave the range: 2C + 8 roundings in each
    # of 16 terms of a sum, and in the gradient 4/N times as many products.
    torch.testing.assert_close(scaled_values, values, rtol=16 * 14 * 2**-53, atol=0)
    torch.testing.assert_close(scaled * scale, gradient, rtol=0, atol=16 * 14 * 2**-53)


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


@pytest.mark.parametrize("name", NAMES)
def test_no_path_forms_an_affinity_matrix(name):
    n, channels, k = 64 * 64, 4, 5
    largest, kept = memory_of(loss_named(name, n, k=k), *draw_maps(channels, 64, 64))
    in_blocks = name in ("direct", "order 1")
    # Elsewhere the largest is N×2C, N×2k or one of the maps; N² is 8 blocks.
    assert largest <= (BLOCK if in_blocks else n * 2 * max(channels, k))
    # Autograd keeps references to the maps, both maps' pixel norms, one verdict, and of FFA the
    # probes and AZ, of Gram XXᵀ and XYᵀ.
    saved = 2 * n * k if name.startswith("ffa") else 0 if in_blocks else 2 * channels**2
    assert kept == 2 * n * channels + 2 * n + 1 + saved


def test_memory_check_sees_an_affinity_matrix():
    largest, kept = memory_of(naive_fa, *draw_maps(4, 16, 16))
    assert largest == 256**2
    assert kept >= 256**2


@pytest.mark.parametrize("shape", [(3, 4, 4), (2, 3, 4, 4)])
@pytest.mark.parametrize("law", PROBE_LAWS)
def test_each_call_draws_the_next_probes_of_its_generator(law, shape):
    student, teacher = draw_maps(*shape)
    ours, same = (torch.Generator().manual_seed(7) for _ in range(2))
    values = []
    for _ in range(2):
        values.append(ffa_loss(student, teacher, k=5, law=law, generator=ours))
        batch = shape[0] if len(shape) == 4 else None
        probes = sample_probes(16, 5, law=law, generator=same, batch=batch)
        assert values[-1] == ffa_loss(student, teacher, probes=probes)
    assert values[0] != values[1]


def test_probes_are_independent_across_the_batch():
    student, teacher = (maps.expand(2, -1, -1, -1) for maps in draw_maps(3, 4, 4))
    generator = torch.Generator().manual_seed(0)
    first, second = ffa_loss(student, teacher, generator=generator, reduction="none")
    assert first != second
    first, second = loss_named("ffa", 16)(student, teacher, reduction="none")
    assert first == second


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
