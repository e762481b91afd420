"""What several runs of one process use, loaded once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import ExitStack
from typing import Any, TypeVar

from faqd_train.config.schema import Config

Thing = TypeVar("Thing")


class RunCache(ExitStack):
    """Keeps each thing that was made, by a key that says all that it depends on.

    Examples
    --------
    >>> with RunCache() as cache:
    ...     first = cache.once("images", lambda: [1, 2, 3])
    ...     second = cache.once("images", lambda: [1, 2, 3])
    >>> first is second
    True
    """

    def __init__(self) -> None:
        super().__init__()
        self._made: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], Thing]) -> Thing:
        """Return what was made under the key, or make it."""
        if key not in self._made:
            self._made[key] = make()
        thing: Thing = self._made[key]
        return thing


def images_key(config: Config) -> Hashable:
    """Return all that decides which images there are, and how they are prepared."""
    return config.data.model_copy(update={"labels": True})  # labels are not among the inputs


def inputs_key(config: Config) -> Hashable:
    """Return all that decides what a given teacher answers to given rows of the images."""
    run = config.run
    # What is folded, and whether in bfloat16, depends on the maps that are needed. A graph gives
    # those that any of the runs needs.
    taps = () if run.cuda_graph else config.objective.teacher_tapped
    folded = taps if run.teacher.folded else ()
    return images_key(config), run.teacher, run.channels_last, run.compile, run.cuda_graph, folded


def batches_key(config: Config) -> Hashable:
    """Return all that decides the batches that a teacher is given, apart from their number."""
    seed = config.run.seed if config.run.data_seed is None else config.run.data_seed
    return inputs_key(config), config.optimizer.batch_size, seed
