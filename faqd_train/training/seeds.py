"""One seed, several independent random streams, so that no choice disturbs another's numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Streams:
    """A run's generators. Runs of one seed share initial weights, data order and shifts."""

    weights: torch.Generator
    adapters: torch.Generator
    order: torch.Generator
    augment: torch.Generator
    probes: torch.Generator

    def states(self) -> dict[str, Tensor]:
        """Return where each generator stands, by name."""
        return {name: generator.get_state() for name, generator in vars(self).items()}

    def set_states(self, states: dict[str, Tensor]) -> None:
        """Put each generator where `states` found it."""
        for name, generator in vars(self).items():
            generator.set_state(states[name])


def make_streams(seed: int, data_seed: int | None = None) -> Streams:
    """Derive the generators of a run from its seed.

    With a ``data_seed``, data order and shifts are those of the runs of that seed.

    Examples
    --------
    >>> a, b, c = make_streams(0), make_streams(0), make_streams(1, data_seed=0)
    >>> x, y, z = (torch.rand(3, generator=streams.order) for streams in (a, b, c))
    >>> torch.equal(x, y), torch.equal(x, z)
    (True, True)
    >>> x, y, z = (torch.rand(3, generator=streams.weights) for streams in (a, b, c))
    >>> torch.equal(x, y), torch.equal(x, z)
    (True, False)
    """
    streams = _streams_of(seed)
    if data_seed is None:
        return streams
    batches = _streams_of(data_seed)
    return replace(streams, order=batches.order, augment=batches.augment)


def _streams_of(seed: int) -> Streams:
    children = np.random.SeedSequence(seed).spawn(5)
    seeds = (int(child.generate_state(1, np.uint64)[0]) for child in children)
    return Streams(*(torch.Generator().manual_seed(child) for child in seeds))
