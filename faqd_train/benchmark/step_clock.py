"""Times the steps of `faqd_train.training.loop.fit` as it runs, and other calls in between."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from faqd_train.benchmark.timing import Call, now, seconds

# Of one kind in a row. The first is not timed: a training's step follows another of its own, with
# its data in the caches and its memory at hand.
IN_A_ROW = 3


class StepClock:
    """Two of the functions that `fit` takes: it calls one as a step starts, one as it ends.

    After every few steps the other calls run, each as often, in an order drawn each time, so that
    a slow spell of the machine meets all.

    Attributes
    ----------
    times : dict of str to list of float
        Seconds of each step, by "step", and of each other call, by its name; without the first of
        each row.
    """

    def __init__(
        self, others: Mapping[str, Call], device: torch.device, generator: torch.Generator
    ) -> None:
        self.times: dict[str, list[float]] = {name: [] for name in ("step", *others)}
        self._others, self._device, self._generator = others, device, generator
        self._start, self._row = 0.0, list[float]()

    def prepare(self, images: Tensor, _augment: torch.Generator | None) -> Tensor:
        """Start the clock; the images are a network's input already."""
        self._start = now(self._device)
        return images

    def stop(self) -> None:
        """Read the clock; at the end of a row time the others. The training is to go on."""
        self._row.append(now(self._device) - self._start)
        if len(self._row) < IN_A_ROW:
            return
        self._end_row("step")
        names = list(self._others)
        for index in torch.randperm(len(names), generator=self._generator).tolist():
            call = self._others[names[index]]
            self._row = [seconds(call, self._device) for _ in range(IN_A_ROW)]
            self._end_row(names[index])

    def _end_row(self, name: str) -> None:
        self.times[name] += self._row[1:]
        self._row = []
