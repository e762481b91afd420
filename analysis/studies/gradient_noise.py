"""Noise of FFA's gradient and value against k and N, measured and by P2 and P8."""

from __future__ import annotations

from typing import Any

import numpy as np

import faqd_math as fm
from analysis.studies.inputs import Array, Pairs, crop
from faqd_math.features import unit_pixel_pair
from faqd_math.gradients import unit_fa_gradient, unit_ffa_gradient

PROBES = (1, 2, 4, 8, 15, 32, 64)
SIDES = (4, 8, 16, 32)
_K = 15


def gradient_noise(
    pairs: Pairs, about: str, *, rng: np.random.Generator, replications: int = 400
) -> dict[str, Any]:
    """Replicate FFA on the first sample: by k on every tap, by N on crops of the largest map."""
    firsts = {tap: (student[0], teacher[0]) for tap, (student, teacher) in pairs.items()}
    largest = max(firsts, key=lambda tap: firsts[tap][0][0].size)
    student, teacher = firsts[largest]
    return {
        "about": about,
        "replications": replications,
        "probes": PROBES,
        "by_probes": {
            tap: [_noise(s, t, k, rng, replications) for k in PROBES]
            for tap, (s, t) in firsts.items()
        },
        "cropped": largest,
        "k": _K,
        "by_pixels": [
            _noise(crop(student, side), crop(teacher, side), _K, rng, replications)
            for side in SIDES
            if side <= student.shape[-1]
        ],
    }


def _noise(
    student: Array, teacher: Array, k: int, rng: np.random.Generator, replications: int
) -> dict[str, float]:
    """Root mean square errors over the sizes of what is estimated."""
    x, y, _ = unit_pixel_pair(student[np.newaxis], teacher[np.newaxis])
    exact, gradient, n = fm.fa_loss(student, teacher), unit_fa_gradient(x, y), x.shape[-1]
    values, squares = np.empty(replications), np.empty(replications)
    for i in range(replications):
        z = fm.sample_probes(n, k, rng=rng)
        values[i] = fm.ffa_loss(student, teacher, z) / exact - 1
        squares[i] = ((unit_ffa_gradient(x, y, z) - gradient) ** 2).sum()
    length = float((gradient**2).sum())
    spectrum = fm.gap_spectrum(student, teacher)
    predicted = fm.moments.gradient_noise(student, teacher, k) / length
    return {
        "pixels": n,
        "k": k,
        "gradient_measured": float(np.sqrt(squares.mean() / length)),
        "gradient_predicted": float(np.sqrt(predicted)),
        "value_measured": float(np.sqrt((values**2).mean())),
        "value_predicted": float(np.sqrt(2 / (k * fm.effective_rank(spectrum)))),
    }
