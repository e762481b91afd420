"""Feature maps of student and teacher in one .npz file, for whatever reads plain NumPy.

For each tap the file holds ``student.<tap>`` and ``teacher.<tap>``, float32 of shape
(B, C, H, W), sample by sample of the same images; the student's map is after its adapter, as FA
compares it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from faqd_train.files import write_atomically
from faqd_train.networks.adapters import adapt
from faqd_train.networks.taps import tapped

Features = dict[str, NDArray[np.float32]]


@torch.no_grad()
def capture_features(
    model: nn.Module,
    inputs: Tensor,
    taps: Sequence[str],
    *,
    adapters: nn.ModuleList | None = None,
) -> Features:
    """Return the maps of named modules, in evaluation mode.

    Parameters
    ----------
    model : nn.Module
        Put in evaluation mode.
    inputs : Tensor (B, C, H, W)
        As the network takes them, run as one batch.
    taps : module names
        As in ``model.named_modules()``.
    adapters : nn.ModuleList, optional
        Applied to the maps, one per tap.

    Returns
    -------
    dict of arrays (B, C, H, W), float32, by tap
    """
    model.eval()
    with tapped(model, taps) as maps:
        model(inputs)
    if adapters is not None:
        maps = adapt(maps, adapters, taps)
    return {tap: maps[tap].float().cpu().numpy() for tap in taps}


def save_features(path: Path, student: Features, teacher: Features) -> None:
    """Write the pairs of maps, atomically; the teacher's are named by the student's taps."""
    keyed = {f"student.{tap}": maps for tap, maps in student.items()}
    pairs = zip(student, teacher.values(), strict=True)
    keyed |= {f"teacher.{tap}": maps for tap, maps in pairs}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **keyed)
    write_atomically(path, buffer.getvalue())
