"""Free features trained by FFA with fixed and with fresh probes: what becomes of FA (R2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from faqd_train.losses.affinity import fa_loss, ffa_loss, sample_probes

_SHAPE = (16, 8, 8)
PROBES = (1, 5, 15)
STEPS, EVERY, _RATE = 1000, 20, 0.03


def fixed_probes(*, seeds: Sequence[int] = (0, 1, 2, 3, 4), steps: int = STEPS) -> dict[str, Any]:
    """Descend by Adam from gaussian features; FA over its start at every 20th step."""
    return {
        "channels": _SHAPE[0],
        "pixels": _SHAPE[1] * _SHAPE[2],
        "seeds": list(seeds),
        "steps": list(range(0, steps + 1, EVERY)),
        "curves": {
            f"{kind}, k = {k}": [
                _shares_left(k, seed, steps, fresh=kind == "fresh") for seed in seeds
            ]
            for kind in ("fixed", "fresh")
            for k in PROBES
        },
    }


def _shares_left(k: int, seed: int, steps: int, *, fresh: bool) -> list[float]:
    """FA over FA at the start, at every ``EVERY``-th step."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn((2, *_SHAPE), generator=generator, dtype=torch.float64)
    features = student.clone().requires_grad_()
    optimizer = torch.optim.Adam([features], lr=_RATE)

    def draw() -> Tensor:
        n = student[0].numel()
        return sample_probes(n, k, generator=generator, dtype=torch.float64)

    probes = draw()
    shares = [1.0]
    start = fa_loss(student, teacher)
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        ffa_loss(features, teacher, probes=draw() if fresh else probes).backward()
        optimizer.step()
        if step % EVERY == 0:
            shares.append(float(fa_loss(features.detach(), teacher) / start))
    return shares
