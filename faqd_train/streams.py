"""One seed, several independent random streams, so that no choice disturbs another's numbers."""

from __future__ import annotations

from dataclasses import dataclass

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


def make_streams(seed: int) -> Streams:
    """Derive the generators of a run from its seed.

    Examples
    --------
    >>> a, b = make_streams(0), make_streams(0)
    >>> torch.equal(torch.rand(3, generator=a.order), torch.rand(3, generator=b.order))
    True
    """
    children = np.random.SeedSequence(seed).spawn(5)
    seeds = (int(child.generate_state(1, np.uint64)[0]) for child in children)
    return Streams(*(torch.Generator().manual_seed(child) for child in seeds))
