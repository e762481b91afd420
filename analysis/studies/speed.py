"""What the losses and a training step cost beside the released algorithms, and how FA grows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from analysis.rendering.product import Product, Result
from analysis.rendering.tables import Row
from analysis.studies.power_law import fit_exponent
from analysis.studies.speed_figure import RELEASED_FA, RELEASED_FFA, draw, ratio, rows
from analysis.studies.study import Study
from faqd_train.benchmark.growth import Growth
from faqd_train.benchmark.running import PARTS, Plan, run


def speed(*, seed: int, quick: bool = False, parts: Collection[str] = PARTS) -> Result:
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


def losses(result: Result) -> list[Row]:
    """Give what each path costs at each stage, beside the released ones and the limit."""
    answer: list[Row] = []
    for table in result["losses"]:
        shape = table["shape"]
        for row in table["rows"]:
            over = [ratio(table, row["path"], name) for name in (RELEASED_FA, RELEASED_FFA)]
            times = row["seconds"]
            answer.append(
                {
                    "stage": shape["name"],
                    "shape": f"{shape['batch']}×{shape['channels']}×{shape['side']}²",
                    "path": row["path"],
                    "ms": None if times is None else 1000 * times["median"],
                    "times as fast as released FA": over[0] and over[0]["ratio"],
                    "as released FFA": over[1] and over[1]["ratio"],
                    "MB": None if times is None else row["peak_bytes"] / 1e6,
                    "over limit": None if times is None else times["median"] / row["limit_seconds"],
                    "not run": row["not_run"],
                }
            )
    return answer


def steps(result: Result) -> list[Row]:
    """Give what a training step costs, and FA's part of it."""
    step = result["step"]
    return [
        {
            "step": name,
            "ms": 1000 * step[name]["step"]["median"],
            "images/s": step["batch"] / step[name]["step"]["median"],
            "FA's share": step[name]["fa"]["median"] / step[name]["step"]["median"],
            "times as fast": step["released"]["step"]["median"] / step[name]["step"]["median"],
        }
        for name in ("released", "ours")
    ]


STUDY = Study(
    name="speed",
    keys=frozenset({"limits", "losses", "sweep", "memory", "step", "exponents", "threads"}),
    compute=lambda s: speed(seed=s.seed),
    k=(15,),
    products=(
        Product(
            name="speed",
            text="Against the number of pixels, the time of the released FA grows like the square "
            "and that of exact FA here linearly, at large maps below that of the released FFA; at "
            "the stages of both networks' maps it is many times as fast where there are many "
            "pixels.",
            draw=draw,
            rows=rows,
        ),
        Product(
            name="speed-of-losses",
            text="Each loss of order 2, forward and backward, in float32: median time, how many "
            "times as fast as the released FA and FFA (k = 15), memory at the peak beyond both "
            "maps, and time over the least that bandwidth and matrix rate allow.",
            rows=losses,
        ),
        Product(
            name="training-step",
            text="A training step of 4W4A ResNet-20 under ResNet-110 with KD and FA, released and "
            "ours; FA's share is that of its time alone.",
            rows=steps,
        ),
    ),
)
