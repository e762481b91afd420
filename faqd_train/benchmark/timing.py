"""Calls timed side by side: in turns, in random order, after a warm-up, summed up by quartiles."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Call = Callable[[], object]
# Calls of one kind in a row. The first is not timed: a training's step follows another of its own,
# with its data in the caches and its memory at hand.
IN_A_ROW = 3
WARM_UP = 2  # rows of each kind
FEWEST_ROUNDS = 6  # with fewer, no pair of order statistics bounds a median with 95 %


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of repeated measurements."""

    median: float
    low: float
    high: float
    repetitions: int


@dataclass(frozen=True)
class Budget:
    """How often calls are repeated: so many rounds, but fewer where these take too long.

    Attributes
    ----------
    repetitions : int
        Rounds, each of one call of each kind.
    seconds : float
        That one table's rounds should take; at least 6 rounds are made, or ``repetitions`` if
        that is less.
    """

    repetitions: int
    seconds: float

    def rounds(self, of_one: float) -> int:
        """Return the rounds to make, where one takes so many seconds.

        Examples
        --------
        >>> [Budget(20, seconds=30.0).rounds(one) for one in (0.1, 3.0, 60.0)]
        [20, 10, 6]
        """
        affordable = int(self.seconds / of_one) if of_one > 0 else self.repetitions
        return min(self.repetitions, max(FEWEST_ROUNDS, affordable))


def interleaved(
    calls: Sequence[Call], budget: Budget, *, device: torch.device, generator: torch.Generator
) -> list[list[float]]:
    """Time calls in rounds; in each, every call runs once, in an order drawn for the round.

    Two rounds come before those that count: the first warms up, the second shows how many the
    budget allows. A slow spell of the machine then meets all calls, and none always follows the
    same other one, whose data would lie in the caches.

    Returns
    -------
    list of lists of float
        Seconds of wall time, a list for each call. On CUDA each call ends by waiting for the
        device.
    """
    for _ in range(2):
        one_round = sum(seconds(call, device) for call in calls)
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(budget.rounds(one_round)):
        for index in torch.randperm(len(calls), generator=generator).tolist():
            times[index].append(seconds(calls[index], device))
    return times


def time_rows(
    calls: Mapping[str, Call], rows: int, *, device: torch.device, generator: torch.Generator
) -> dict[str, list[float]]:
    """Time calls in rows of `IN_A_ROW` of one kind, in an order drawn for each round of rows.

    Returns
    -------
    dict of str to list of float
        Seconds by the name of the call, without the first of each row and the `WARM_UP` rows.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for row in range(rows):
        for index in torch.randperm(len(names), generator=generator).tolist():
            found = [seconds(calls[names[index]], device) for _ in range(IN_A_ROW)]
            if row >= WARM_UP:
                times[names[index]] += found[1:]
    return times


def seconds(call: Call, device: torch.device) -> float:
    """Wall time of one call; freeing its result is not part of it."""
    start = now(device)
    result = call()
    end = now(device)
    del result
    return end - start


def now(device: torch.device) -> float:
    """Read the clock once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def spread(times: Sequence[float]) -> Spread:
    """Sum up repeated measurements.

    Examples
    --------
    >>> spread([3.0, 1.0, 2.0, 9.0, 4.0])
    Spread(median=3.0, low=2.0, high=4.0, repetitions=5)
    """
    values: Tensor = torch.tensor(times, dtype=torch.float64)
    low, median, high = values.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    return Spread(median.item(), low.item(), high.item(), len(times))
