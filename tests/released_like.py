"""FA and FFA of order 1 and 2 as the released code computes them, global seed and all.

Written anew from the description of its formulas: R1 the (2,1)-norm, R2 the same probes at each
call, R3 by seeding the global generator, R4 a bare norm, R5 the root, R6 a sum over the batch.
"""

import numpy as np
import torch

from faqd_train.losses import released as released_losses
from faqd_train.losses.released import fa_loss

__all__ = ["fa_loss", "fast_fa_loss", "numpy_fast_fa_loss"]


def fast_fa_loss(feat, ref, dim=15, order=1):
    """Torch: the same gaussian probes at each call, after seeding the global generator."""
    torch.manual_seed(1)
    return released_losses.ffa_loss(feat, ref, dim, order)


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
