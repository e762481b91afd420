"""Several runs in one process: each is a generator that pauses, so that they take turns."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

Key = TypeVar("Key")
Result = TypeVar("Result")

Position = tuple[int, int]  # the epoch, and the steps done in it
Turns = Generator[Position, None, Result]


def finish(run: Turns[Result]) -> Result:
    """Carry one run through without a break."""
    while True:
        try:
            next(run)
        except StopIteration as end:
            result: Result = end.value
            return result


def take_turns(
    runs: Mapping[Key, Turns[Result]], kept: tuple[type[Exception], ...] = ()
) -> Iterator[tuple[Key, Result | Exception]]:
    """Advance, again and again, the run that is furthest behind; give each result as it comes.

    Runs that start together so stay side by side, and one that is resumed further on waits until
    the others have come as far. An error of the kinds ``kept`` is the result of its run, and the
    others go on; any other ends all of them.

    Examples
    --------
    >>> def run(name, steps):
    ...     for step in steps:
    ...         yield 1, step
    ...         print(name, step)
    ...     return name.upper()
    >>> dict(take_turns({1: run("a", range(3)), 2: run("b", range(1, 3))}))
    a 0
    a 1
    b 1
    a 2
    b 2
    {1: 'A', 2: 'B'}
    """
    positions = dict.fromkeys(runs, (0, 0))  # before any step, so that all of them start first
    try:
        while positions:
            key = min(positions, key=positions.__getitem__)
            try:
                positions[key] = next(runs[key])
                continue
            except StopIteration as end:
                result = end.value
            except kept as error:
                result = error.with_traceback(None)  # its frames would keep the networks
            del positions[key]
            yield key, result
    finally:
        for run in runs.values():
            run.close()


class Stopwatch:
    """Counts the seconds of one run, without those in which others have their turn."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._start = time.perf_counter() - seconds

    def seconds(self) -> float:
        """Return those so far."""
        return time.perf_counter() - self._start

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Count nothing meanwhile."""
        before = time.perf_counter()
        yield
        self._start += time.perf_counter() - before
