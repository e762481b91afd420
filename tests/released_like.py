"""FA and FFA of order 1 and 2 as the released code computes them, defects and all.

Written anew from the description of its formulas: R1 the (2,1)-norm, R2 the same probes at each
call, R3 by seeding the global generator, R4 a bare norm, R5 the root, R6 a sum over the batch.
"""

import numpy as np
import torch
from torch.nn.functional import interpolate


def fa_loss(feat, ref, order=1):
    """Torch: an epsilon in the norm; a sum over the batch, or the whole batch's norm."""
    ref = interpolate(ref, size=feat.shape[2:], mode="bilinear", align_corners=True)
    gap = _affinity(feat) - _affinity(ref)
    n = gap.shape[-1]
    return gap.abs().sum() / n**2 if order == 1 else torch.linalg.vector_norm(gap) / n


def _affinity(maps):
    pixels = maps.flatten(2)
    x = pixels / (torch.linalg.vector_norm(pixels, dim=1, keepdim=True) + 1e-5)
    return x.mT @ x


def fast_fa_loss(feat, ref, dim=15, order=1):
    """Torch: the same gaussian probes at each call, shared by the batch; bare norms."""
    torch.manual_seed(1)
    z = torch.randn(feat.shape[2] * feat.shape[3], dim).to(feat.dtype)
    ref = interpolate(ref, size=feat.shape[2:], mode="bilinear", align_corners=True)
    az = _images(feat, z) - _images(ref, z)
    n = len(z)
    if order == 1:
        return az.abs().mean(dim=2).sum() / n**2
    return torch.sqrt((az**2).mean(dim=2).sum()) / n


def _images(maps, z):
    pixels = maps.flatten(2)
    x = pixels / torch.linalg.vector_norm(pixels, dim=1, keepdim=True)
    return x.mT @ (x @ z)


def numpy_fast_fa_loss(feat, ref, dim=15, order=1):
    """Compute `fast_fa_loss` in NumPy, for maps of one size."""
    np.random.seed(1)  # noqa: NPY002  (R3)
    z = np.random.standard_normal((feat.shape[2] * feat.shape[3], dim))  # noqa: NPY002
    az = _numpy_images(feat, z) - _numpy_images(ref, z)
    n = len(z)
    if order == 1:
        return np.abs(az).mean(axis=2).sum() / n**2
    return np.sqrt((az**2).mean(axis=2).sum()) / n


def _numpy_images(maps, z):
    pixels = maps.reshape(*maps.shape[:2], -1)
    x = pixels / np.linalg.norm(pixels, axis=1, keepdims=True)
    return x.mT @ (x @ z)
