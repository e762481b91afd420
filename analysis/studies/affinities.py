"""Affinity matrices of one image: teacher, student before and after training."""

from __future__ import annotations

from typing import Any

import numpy as np

import faqd_math as fm
from analysis.studies.inputs import Array, Pairs, crop

# Sides of what is shown: 16² pixels make 256² cosines.
_LARGEST_SIDE = 16


def affinities(before: Pairs, after: Pairs, about: str) -> dict[str, Any]:
    """Take the first sample of each tap; cosines in percent, as two digits are all one can see."""
    taps = {}
    for tap, (student, teacher) in after.items():
        side = min(_LARGEST_SIDE, student.shape[-1])
        untrained, trained, target = (
            crop(maps[0], side) for maps in (before[tap][0], student, teacher)
        )
        taps[tap] = {
            "side": side,
            "map_side": student.shape[-1],
            "teacher": _percent(target),
            "student before": _percent(untrained),
            "student after": _percent(trained),
            "fa_before": fm.fa_loss(before[tap][0][0], before[tap][1][0]),
            "fa_after": fm.fa_loss(student[0], teacher[0]),
        }
    return {"about": about, "taps": taps}


def _percent(maps: Array) -> list[list[int]]:
    return np.rint(100 * fm.affinity(maps)).astype(int).tolist()
