"""What one loss costs by resolution, at equal channels: multiply-adds, time, memory."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
from threadpoolctl import threadpool_limits

from analysis.complexity import Sizes, interleaved_seconds, loss_call, peak_bytes
from faqd_math.cost import LossPath, multiply_adds

SIDES = (4, 6, 8, 12, 16, 24, 32, 48, 64)
CHANNELS = (16, 64)
_K = 15
PATHS: tuple[LossPath, ...] = get_args(LossPath)


def costs(*, rng: np.random.Generator, rounds: int = 5, sides: tuple[int, ...] = SIDES) -> Any:
    """Count, time (NumPy, one thread, processor time) and trace each path on random maps."""
    return {
        "k": _K,
        "rounds": rounds,
        "shapes": {str(c): _by_resolution(c, sides, rng, rounds) for c in CHANNELS},
    }


def _by_resolution(
    channels: int, sides: tuple[int, ...], rng: np.random.Generator, rounds: int
) -> dict[str, Any]:
    sizes = [Sizes(side**2, channels, _K) for side in sides]
    answer: dict[str, Any] = {"pixels": [size.n for size in sizes]}
    for path in PATHS:
        calls = [loss_call(path, size, "numpy", rng) for size in sizes]
        with threadpool_limits(limits=1):
            seconds = interleaved_seconds(calls, rounds)
        answer[path] = {
            "multiply_adds": [multiply_adds(path, s.n, channels, channels, _K) for s in sizes],
            "seconds": np.median(seconds, axis=0).tolist(),
            "fastest": seconds.min(axis=0).tolist(),
            "slowest": seconds.max(axis=0).tolist(),
            "bytes": [peak_bytes(call) for call in calls],
        }
    return answer
