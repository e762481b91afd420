"""FA and FFA, right but each written in another way; naive where that is short."""

import numpy as np
import oracles
import torch
from torch.nn.functional import interpolate


def resized(maps, size):
    """Interpolate along one axis, then the other."""
    for axis, length in zip((-2, -1), size, strict=True):
        old = np.arange(maps.shape[axis])
        new = np.linspace(0, len(old) - 1, length)
        maps = np.apply_along_axis(
            lambda line, new=new, old=old: np.interp(new, old, line), axis, maps
        )
    return maps


def unit(maps):
    pixels = maps.reshape(*maps.shape[:2], -1)
    norms = np.sqrt(np.einsum("bcn,bcn->bn", pixels, pixels))[:, None]
    return pixels / np.where(norms == 0, 1, norms)


def unit_pair(student, teacher):
    return unit(student), unit(resized(teacher, student.shape[2:]))


def gaps(student, teacher):
    x, y = unit_pair(student, teacher)
    return x.mT @ x - y.mT @ y


def by_einsum(student, teacher):
    x, y = unit_pair(student, teacher)
    gap = np.einsum("bci,bcj->bij", x, x) - np.einsum("bci,bcj->bij", y, y)
    return np.einsum("bij,bij->", gap, gap) / gap.size


def by_loops(student, teacher):
    return oracles.fa(student, teacher)


def by_gram(student, teacher):
    x, y = unit_pair(student, teacher)
    terms = [(m**2).sum(axis=(1, 2)) for m in (x @ x.mT, y @ y.mT, x @ y.mT)]
    return np.maximum(terms[0] + terms[1] - 2 * terms[2], 0) / x.shape[2] ** 2


def by_eigenvalues(student, teacher):
    gap = gaps(student, teacher)
    return (np.linalg.eigvalsh(gap) ** 2).sum() / gap[0].size


def by_singular_values(student, teacher):
    gap = gaps(student, teacher)
    return np.mean([(np.linalg.svd(a, compute_uv=False) ** 2).sum() / a.size for a in gap])


def by_qr(student, teacher):
    x, y = (m[0] for m in unit_pair(student[None], teacher[None]))
    r = np.linalg.qr(np.concatenate([x, y]).T, mode="r")
    signs = np.r_[np.ones(len(x)), -np.ones(len(y))]
    return np.linalg.norm((r * signs) @ r.T) / x.shape[1]


def by_chunks(student, teacher):
    x, y = unit_pair(student, teacher)
    n = x.shape[2]
    rows = (slice(i, i + 3) for i in range(0, n, 3))
    return sum(((x[..., r].mT @ x - y[..., r].mT @ y) ** 2).sum((1, 2)) for r in rows) / n


def by_distances(student, teacher):
    """Cosines from distances: ‖x_i‖² + ‖x_j‖² − ‖x_i − x_j‖² is twice their product."""
    cosines = []
    for x in unit_pair(student, teacher):
        squares = (x**2).sum(axis=1)
        apart = ((x[:, :, :, None] - x[:, :, None]) ** 2).sum(axis=1)
        cosines.append((squares[:, :, None] + squares[:, None] - apart) / 2)
    return ((cosines[0] - cosines[1]) ** 2).mean()


def order_one(student, teacher):
    return np.abs(gaps(student, teacher)).sum()


def torch_unit(maps):
    pixels = maps.flatten(2)
    dead = (pixels == 0).all(dim=1, keepdim=True)
    safe = pixels.masked_fill(dead, 1)
    return (safe / torch.linalg.vector_norm(safe, dim=1, keepdim=True)).masked_fill(dead, 0)


def torch_pair(student, teacher):
    size = student.shape[2:]
    teacher = interpolate(teacher, size=size, mode="bilinear", align_corners=True)
    return torch_unit(student), torch_unit(teacher)


def by_autograd(student, teacher):
    x, y = torch_pair(student, teacher)
    return (x.mT @ x - y.mT @ y).square().mean()


def ffa_by_gap(student, teacher, probes):
    az = gaps(student, teacher) @ probes
    return (az**2).mean(axis=2).sum(axis=1).mean() / len(probes) ** 2


def ffa_by_autograd(student, teacher, *, probes):
    x, y = torch_pair(student, teacher)
    az = x.mT @ (x @ probes) - y.mT @ (y @ probes)
    return az.square().mean() / len(probes)


def ffa_drawing(student, teacher, *, rng, k=15):
    """Rademacher probes, others for each sample."""
    n = student.shape[2] * student.shape[3]
    z = rng.choice([-1.0, 1.0], (len(student), n, k))
    return ((gaps(student, teacher) @ z) ** 2).mean() / n


def ffa_drawing_torch(student, teacher, generator):
    n = student.shape[2] * student.shape[3]
    z = torch.randn(n, 15, generator=generator, dtype=torch.float64).to(student.dtype)
    return ffa_by_autograd(student, teacher, probes=z)


def ffa_of_its_own(student, teacher, generator=np.random.default_rng(0)):  # noqa: B008  (one for all calls)
    n = student.shape[2] * student.shape[3]
    return ffa_by_gap(student, teacher, generator.standard_normal((n, 15)))
