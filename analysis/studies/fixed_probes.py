"""Free features trained by FFA with fixed and with fresh probes: what becomes of FA (R2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from analysis.rendering.figures import DASHES, new_figure, note
from analysis.rendering.product import Product, Result
from analysis.rendering.tables import Row
from analysis.studies.study import Study
from faqd_train.losses.affinity import fa_loss, ffa_loss, sample_probes

_SHAPE = (16, 8, 8)
PROBES = (1, 5, 15)
STEPS, EVERY, _RATE = 1000, 20, 0.03
_FLOOR = 1e-6


def fixed_probes(*, seeds: Sequence[int] = (0, 1, 2, 3, 4), steps: int = STEPS) -> Result:
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
        torch.autograd.backward(ffa_loss(features, teacher, probes=draw() if fresh else probes))
        optimizer.step()
        if step % EVERY == 0:
            shares.append(float(fa_loss(features.detach(), teacher) / start))
    return shares


def draw(result: Result) -> Figure:
    """Draw one curve for each kind of probes and k: the median of the seeds, and their range."""
    figure = new_figure(2.9)
    panel = figure.subplots()
    for name, runs in result["curves"].items():
        kind, k = name.split(", ")
        number = ("k = 1", "k = 5", "k = 15").index(k)
        shares = np.maximum(np.array(runs), _FLOOR)
        line = panel.semilogy(
            result["steps"],
            np.median(shares, axis=0),
            color=f"C{number}",
            ls="-" if kind == "fixed" else DASHES[2],
            label=name,
        )[0]
        panel.fill_between(
            result["steps"],
            shares.min(0),
            shares.max(0),
            color=line.get_color(),
            alpha=0.2,
            lw=0,
        )
    panel.set(xlabel="steps of Adam", ylabel="FA over its start", ylim=(_FLOOR, 2))
    panel.minorticks_off()
    figure.legend(loc="outside lower center", ncols=2)
    note(
        figure,
        f"Free features, {result['channels']} channels, {result['pixels']} pixels, trained by "
        f"FFA of order 2. Line: median of {len(result['seeds'])} seeds; band: least to largest. "
        f"Cut off below a millionth.",
    )
    return figure


def rows(result: Result) -> list[Row]:
    """Give FA over its start by kind, seed and step."""
    return [
        {"probes": name, "seed": seed, "step": step, "fa_over_start": share}
        for name, runs in result["curves"].items()
        for seed, shares in zip(result["seeds"], runs, strict=True)
        for step, share in zip(result["steps"], shares, strict=True)
    ]


STUDY = Study(
    name="fixed-probes",
    keys=frozenset({"curves", "seeds", "pixels", "channels"}),
    compute=lambda _: fixed_probes(),
    k=PROBES,
    products=(
        Product(
            name="fixed-against-fresh-probes",
            text="With fixed probes FA stops falling, the higher the fewer probes there are; with "
            "fresh probes it goes on towards zero for each k.",
            draw=draw,
            rows=rows,
        ),
    ),
)
