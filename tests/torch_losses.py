"""The torch losses by name, and what is done with each of them."""

from functools import partial

import torch

from faqd_train.losses.affinity import fa_loss, ffa_loss, sample_probes

EXACT = {
    "gram": partial(fa_loss, method="gram"),
    "direct": partial(fa_loss, method="direct"),
    "order 1": partial(fa_loss, order=1),
}
FAST = {
    "ffa": ffa_loss,
    "ffa one-sided": partial(ffa_loss, gradient="one-sided"),
    "ffa order 1": partial(ffa_loss, order=1),
}
NAMES = [*EXACT, *FAST]


def loss_named(name, n, *, batch=None, k=5):
    """Return a loss (student, teacher, **options) of maps of n pixels; FFA has fixed probes."""
    if name in EXACT:
        return EXACT[name]
    generator = torch.Generator().manual_seed(1)
    return partial(FAST[name], probes=sample_probes(n, k, generator=generator, batch=batch))


def draw_maps(*shape, seed=0, dtype=torch.float64):
    """Return a student and a teacher of standard normal entries."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *shape, generator=generator, dtype=dtype).unbind()


def values_and_gradient(loss, student, teacher, **options):
    """Return the value of each sample, and the gradient of their sum."""
    student = student.clone().requires_grad_()
    values = loss(student, teacher, reduction="none", **options)
    return values.detach(), *torch.autograd.grad(values.sum(), student)
