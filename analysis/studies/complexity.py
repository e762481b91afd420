"""How operations, time and memory of FA and FFA grow with N, C and k, beside what §4 says.

It takes some minutes, and 4.3 GB for the direct path's two matrices of 16,384² numbers.
"""

from __future__ import annotations

import platform
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch.utils.flop_counter import FlopCounterMode

import faqd_math as fm
from analysis.rendering.product import Product, Result
from analysis.rendering.tables import Row
from analysis.studies.power_law import Exponent, fit_exponent
from analysis.studies.study import Study
from faqd_math.cost import LossPath
from faqd_train.losses import affinity as losses

Quantity = Literal["multiply-adds", "seconds", "bytes"]
Library = Literal["numpy", "torch"]

# A clock read takes below 1 µs, and this much work makes that and its jitter unseen.
_SHORTEST = 5e-3
_ROUNDS = 9
_FITTED = {"exponent": "value", "low": "low", "high": "high"}


@dataclass(frozen=True)
class Sizes:
    """Pixels N, channels C of student and teacher each, probes k."""

    n: int
    c: int
    k: int = 15


@dataclass(frozen=True)
class Sweep:
    """A path's cost along one size, the others fixed, and the exponent of §4.

    ``fit_from``: the fit takes the sizes from this one on, as overheads hide the law below it.
    """

    path: LossPath
    along: Literal["n", "c", "k"]
    points: tuple[Sizes, ...]
    expected: int
    fit_from: int = 0

    @property
    def sizes(self) -> list[int]:
        """The size that varies, at each point."""
        return [getattr(point, self.along) for point in self.points]


@dataclass(frozen=True)
class Growth:
    """What one sweep measured: medians over the rounds, and the fitted exponents.

    ``whole`` is fitted to all sizes, ``exponent`` from ``sweep.fit_from`` on.
    """

    quantity: Quantity
    library: Library
    sweep: Sweep
    medians: list[float]
    exponent: Exponent
    whole: Exponent


def powers_of_two(low: int, high: int) -> list[int]:
    """Return 2^low … 2^high."""
    return [2**e for e in range(low, high + 1)]


# 64 ≤ N ≤ 16,384. Where C and k vary, the fit takes those at which products of matrices outweigh
# the passes over the maps, O(NC), and over the gap, O(N²).
WORK = (
    Sweep("direct", "n", tuple(Sizes(n, 4) for n in powers_of_two(6, 14)), 2, 1024),
    Sweep("ffa", "n", tuple(Sizes(n, 64) for n in powers_of_two(6, 14)), 1, 1024),
    Sweep("gram", "n", tuple(Sizes(n, 64) for n in powers_of_two(6, 14)), 1, 1024),
    Sweep("direct", "c", tuple(Sizes(1024, c) for c in powers_of_two(5, 10)), 1, 128),
    Sweep("ffa", "c", tuple(Sizes(1024, c) for c in powers_of_two(5, 10)), 1, 128),
    Sweep("gram", "c", tuple(Sizes(1024, c) for c in powers_of_two(5, 10)), 2, 128),
    Sweep("ffa", "k", tuple(Sizes(4096, 64, k) for k in powers_of_two(3, 10)), 1, 128),
)
# Few channels beside N or k, and few pixels for Gram's C²: the peak counts the unit pixels too,
# O(NC), which §4 leaves out.
MEMORY = (
    Sweep("direct", "n", tuple(Sizes(n, 2) for n in powers_of_two(6, 14)), 2, 256),
    Sweep("ffa", "n", tuple(Sizes(n, 16) for n in powers_of_two(6, 14)), 1, 256),
    Sweep("gram", "n", tuple(Sizes(n, 16) for n in powers_of_two(6, 14)), 1, 256),
    Sweep("direct", "c", tuple(Sizes(2048, c) for c in powers_of_two(0, 5)), 0),
    Sweep("gram", "c", tuple(Sizes(16, c) for c in powers_of_two(5, 10)), 2, 128),
    Sweep("ffa", "k", tuple(Sizes(1024, 2, k) for k in powers_of_two(4, 10)), 1, 64),
)


def loss_call(
    path: LossPath, sizes: Sizes, library: Library, rng: np.random.Generator
) -> Callable[[], object]:
    """Return the call of one sample's loss of order 2, on random maps and given probes."""
    student, teacher = rng.standard_normal((2, sizes.c, 1, sizes.n))
    probes = fm.sample_probes(sizes.n, sizes.k, rng=rng)
    if library == "numpy":
        if path == "ffa":
            return partial(fm.ffa_loss, student, teacher, probes)
        return partial(fm.fa_loss, student, teacher, method=path)
    maps = torch.from_numpy(student), torch.from_numpy(teacher)
    if path == "ffa":
        return partial(losses.ffa_loss, *maps, probes=torch.from_numpy(probes))
    return partial(losses.fa_loss, *maps, method=path)


def counted_multiply_adds(call: Callable[[], object]) -> float:
    """Multiply-adds of the matrix products that torch runs in a call; it counts two each."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 2


def peak_bytes(call: Callable[[], object]) -> float:
    """Bytes of NumPy's arrays held at once, at most, beside those that were there before."""
    tracemalloc.start()
    try:
        call()
        return float(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


def cpu_seconds(call: Callable[[], object], repetitions: int = 1) -> float:
    """Processor time of one call, the mean of several; other processes' is not in it."""
    start = time.process_time()
    for _ in range(repetitions):
        call()
    return (time.process_time() - start) / repetitions


def interleaved_seconds(calls: Sequence[Callable[[], object]], rounds: int) -> NDArray[np.float64]:
    """Time every call once a round, after two calls of each to warm up; array (rounds, calls).

    What slows a whole round down moves all of its sizes, and no slope. Short calls are repeated.
    """
    repetitions = []
    for call in calls:
        call()
        repetitions.append(int(np.ceil(_SHORTEST / max(cpu_seconds(call), 1e-6))))
    return np.array(
        [
            [cpu_seconds(call, times) for call, times in zip(calls, repetitions, strict=True)]
            for _ in range(rounds)
        ]
    )


def measure(
    quantity: Quantity,
    library: Library,
    sweep: Sweep,
    *,
    rounds: int,
    rng: np.random.Generator,
) -> Growth:
    """Measure a sweep and fit its exponents.

    Multiply-adds (torch only) and bytes (NumPy only) do not vary: they are measured once, and
    their intervals have no width.
    """
    calls = [loss_call(sweep.path, sizes, library, rng) for sizes in sweep.points]
    if quantity == "seconds":
        values = interleaved_seconds(calls, rounds)
    else:
        measured = counted_multiply_adds if quantity == "multiply-adds" else peak_bytes
        values = np.tile([measured(call) for call in calls], (rounds, 1))
    used = np.array(sweep.sizes) >= sweep.fit_from
    return Growth(
        quantity=quantity,
        library=library,
        sweep=sweep,
        medians=np.median(values, axis=0).tolist(),
        exponent=fit_exponent(np.array(sweep.sizes)[used].tolist(), values[:, used]),
        whole=fit_exponent(sweep.sizes, values),
    )


def complexity(*, rng: np.random.Generator, rounds: int = _ROUNDS) -> Result:
    """Measure everything on one thread."""
    plan: list[tuple[Quantity, Library, Sweep]] = [
        *(("multiply-adds", "torch", sweep) for sweep in WORK),
        *(("seconds", "numpy", sweep) for sweep in WORK),
        *(("seconds", "torch", sweep) for sweep in WORK),
        *(("bytes", "numpy", sweep) for sweep in MEMORY),
    ]
    with threadpool_limits(limits=1):
        growths = [measure(*what, rounds=rounds, rng=rng) for what in plan]
    return {
        "rounds": rounds,
        "machine": platform.machine(),
        "growths": [asdict(growth) for growth in growths],
    }


def exponents(result: Result) -> list[Row]:
    """Give the fitted exponents of cost beside those of §4."""
    return [
        {
            "measured": f"{growth['quantity']}, {growth['library']}",
            "path": sweep["path"],
            "along": sweep["along"],
            "expected": sweep["expected"],
            **{name: round(growth["exponent"][key], 3) for name, key in _FITTED.items()},
            "fit from": max(sweep["fit_from"], min(p[sweep["along"]] for p in sweep["points"])),
        }
        for growth in result["growths"]
        for sweep in [growth["sweep"]]
    ]


STUDY = Study(
    name="complexity",
    keys=frozenset({"rounds", "growths"}),
    compute=lambda s: complexity(rng=s.rng),
    k=tuple(sorted({point.k for sweep in (*WORK, *MEMORY) for point in sweep.points})),
    replications=_ROUNDS,
    products=(
        Product(
            name="cost-exponents",
            text="How cost grows along N, C and k: fitted exponents with 95 % confidence "
            "intervals, beside those expected; fitted from the size named on.",
            rows=exponents,
        ),
    ),
)
