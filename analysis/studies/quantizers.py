"""Projections of a trained network's weights: how far from the exact optimum, by bits and layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis.studies.inputs import Array
from faqd_math import quantize
from faqd_math.released import losses as released

BITS = (1, 2, 4)
_RELEASED = {1: released.binary, 2: released.ternary, 4: released.four_bit}
_BINS = 61
_ITERATIONS = 10


def quantizers(weights: Mapping[str, Array], about: str) -> dict[str, Any]:
    """Compare the exact projection with the released one and alternation, layer by layer."""
    middle = sorted(weights)[len(weights) // 2]
    return {
        "about": about,
        "iterations": _ITERATIONS,
        "layers": {
            name: {"weights": w.size, "errors": {str(bits): _errors(w, bits) for bits in BITS}}
            for name, w in weights.items()
        },
        "histogram_layer": middle,
        "histograms": _histograms(weights[middle]),
    }


def _errors(weights: Array, bits: int) -> dict[str, float]:
    """‖w − q‖/‖w‖ by projection."""
    projected = {
        "exact": quantize.project_weights(weights, bits).values,
        "alternating": quantize.alternating_projection(weights, bits, iterations=_ITERATIONS)[
            0
        ].values,
        "released": _RELEASED[bits](weights),
    }
    size = np.linalg.norm(weights)
    return {name: float(np.linalg.norm(weights - q) / size) for name, q in projected.items()}


def _histograms(weights: Array) -> dict[str, Any]:
    counts, edges = np.histogram(weights, bins=_BINS)
    levels = {}
    for bits in BITS:
        values = quantize.project_weights(weights, bits).values
        level, count = np.unique(values, return_counts=True)
        levels[str(bits)] = {"levels": level.tolist(), "counts": count.tolist()}
    return {"edges": edges.tolist(), "counts": counts.tolist(), "bits": levels}
