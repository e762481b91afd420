"""FA and FFA as FAQD's released code computes them, in torch: the benchmark's baseline.

Own re-implementation from the formulas, not for training; `faqd_math.released.losses` numbers its
defects and is the oracle of this file. Ordinary operations in the maps' dtype; autograd records
them. Where the released code could be written in several ways, the fast one is taken: Xᵀ(XZ), not
(XᵀX)Z.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from faqd_train._validation import check_choice, check_count

NORM_OFFSET = 1e-5  # added to each pixel's norm by fa_loss, but not by ffa_loss
_SEED = 1  # of the released code


def fa_loss(student: Tensor, teacher: Tensor, order: int = 1) -> Tensor:
    """FA as released, in the maps' dtype: both N×N affinities formed, no mean over the batch.

    Parameters
    ----------
    student, teacher : tensor (B, C, H, W)
        Feature maps of one floating dtype; the teacher is resized to the student.
    order : {1, 2}
        1: Σ|A_ij|/N² over entries and batch (R6). 2: the Frobenius norm of A over the whole
        batch, not squared, over N.

    Examples
    --------
    >>> student, teacher = torch.ones(1, 1, 1, 2), torch.eye(2).reshape(1, 2, 1, 2)
    >>> fa_loss(student, teacher), fa_loss(student, teacher, order=2)
    (tensor(0.5000), tensor(0.7071))
    """
    check_choice(order, "order", (1, 2))
    x, y = _pixels_over_norms(student, teacher, NORM_OFFSET)
    gap = x.mT @ x - y.mT @ y
    n = gap.shape[-1]
    return gap.abs().sum() / n**2 if order == 1 else torch.linalg.vector_norm(gap) / n


def ffa_loss(student: Tensor, teacher: Tensor, k: int = 15, order: int = 1) -> Tensor:
    """FFA as released: bare norms, the same k gaussian probes at each call and for each sample.

    The released code seeds the global generator by a constant at each call (R3). Here a generator
    of that seed is made at each call, which draws the same probes (R2) and touches nothing else.

    Parameters
    ----------
    student, teacher : tensor (B, C, H, W)
        As in `fa_loss`. The loss is NaN if a pixel of either is dead (R4).
    k : int
        Probes.
    order : {1, 2}
        1: Σ_b Σ_i mean_j |(AZ)_ij|/N². 2: √(Σ_b Σ_i mean_j (AZ)²_ij)/N (R5).
    """
    check_choice(order, "order", (1, 2))
    z = fixed_probes(student.shape[2] * student.shape[3], check_count(k, "k")).to(student)
    x, y = _pixels_over_norms(student, teacher, 0.0)
    az = x.mT @ (x @ z) - y.mT @ (y @ z)
    n = len(z)
    # The mean over the k probes, summed over pixels and batch.
    if order == 1:
        return az.abs().mean(dim=2).sum() / n**2
    return az.square().mean(dim=2).sum().sqrt() / n


def fixed_probes(n: int, k: int) -> Tensor:
    """Return the probes (n, k) of every call, float32 on the CPU: those of a seed that stays."""
    return torch.randn(n, k, generator=torch.Generator().manual_seed(_SEED))


def _pixels_over_norms(student: Tensor, teacher: Tensor, offset: float) -> tuple[Tensor, Tensor]:
    """Pixel vectors (B, C, N) divided by (norm + offset), the teacher resized to the student."""
    teacher = interpolate(teacher, size=student.shape[2:], mode="bilinear", align_corners=True)
    x, y = (maps.flatten(2) for maps in (student, teacher))
    norms = [torch.linalg.vector_norm(pixels, dim=1, keepdim=True) for pixels in (x, y)]
    return x / (norms[0] + offset), y / (norms[1] + offset)
