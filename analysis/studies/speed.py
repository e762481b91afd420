"""What the losses and a training step cost beside the released algorithms, and how FA grows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from analysis.power_law import fit_exponent
from faqd_train.benchmark.growth import Growth
from faqd_train.benchmark.running import PARTS, Plan, run


def speed(*, seed: int, quick: bool = False, parts: Collection[str] = PARTS) -> dict[str, Any]:
    """Run `faqd-train bench` on the CPU, and fit how exact FA grows with the pixels."""
    report = run(Plan(torch.device("cpu"), memory=9e9, seed=seed, quick=quick), parts)
    growth = {} if report.memory is None else exponents(report.memory)
    return {**asdict(report), "exponents": growth}


def exponents(growth: Growth) -> dict[str, Any]:
    """Fit powers of N to time and memory; memory does not vary, so its interval has no width."""
    pixels = [shape.pixels for shape in growth.shapes]
    rounds = np.array(growth.seconds).T
    memory = np.tile(np.array(growth.peak_bytes, dtype=np.float64), (len(rounds), 1))
    return {
        "seconds": asdict(fit_exponent(pixels, rounds)),
        "bytes": asdict(fit_exponent(pixels, memory)),
    }
