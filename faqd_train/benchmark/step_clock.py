"""Times the steps of `faqd_train.engine.fit` as it runs, and other calls in between."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from faqd_train.benchmark.timing import Call, now, seconds


class StepClock:
    """Two of the functions that `fit` takes: it calls one as a step starts, one as it ends.

    Between two steps the other calls run, in an order drawn each time, so that a slow spell of
    the machine meets all.

    Attributes
    ----------
    times : dict of str to list of float
        Seconds of each step, by "step", and of each other call, by its name.
    """

    def __init__(
        self, others: Mapping[str, Call], device: torch.device, generator: torch.Generator
    ) -> None:
        self.times: dict[str, list[float]] = {name: [] for name in ("step", *others)}
        self._others, self._device, self._generator = others, device, generator
        self._start = 0.0

    def prepare(self, images: Tensor, _augment: torch.Generator | None) -> Tensor:
        """Start the clock; the images are a network's input already."""
        self._start = now(self._device)
        return images

    def stop(self) -> None:
        """Read the clock, then time the other calls. The training is to go on."""
        self.times["step"].append(now(self._device) - self._start)
        names = list(self._others)
        for index in torch.randperm(len(names), generator=self._generator).tolist():
            taken = seconds(self._others[names[index]], self._device)
            self.times[names[index]].append(taken)
