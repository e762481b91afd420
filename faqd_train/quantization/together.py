"""All alternating weight projections of a network in a few large operations (Q3).

A network has many small layers. On a GPU nearly all of the time of projecting them one by one goes
into starting small kernels. Here their rows are padded to one length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from faqd_train.quantization.weights import (
    LLOYD_ITERATIONS,
    QuantizedWeight,
    lloyd_step,
    on_levels,
)

Layer = tuple[QuantizedWeight, Tensor]


@dataclass(frozen=True)
class _Group:
    """Layers of equal bits, and room for their rows, padded by zeros to one length."""

    bits: int
    layers: list[Layer]
    counts: list[int]  # rows of each layer
    padded: Tensor  # (R, m)
    lengths: Tensor  # (R, 1), float64: of the rows without padding

    @classmethod
    def of(cls, bits: int, layers: list[Layer]) -> _Group:
        rows = [_rows(weights, quantizer) for quantizer, weights in layers]
        counts, sizes = ([part.shape[axis] for part in rows] for axis in (0, 1))
        padded = rows[0].new_zeros(sum(counts), max(sizes))
        repeated = [size for count, size in zip(counts, sizes, strict=True) for _ in range(count)]
        lengths = torch.tensor(repeated, dtype=torch.float64, device=padded.device)[:, None]
        return cls(bits, layers, counts, padded, lengths)


class AlternatingProjections:
    """The alternating projections of a network in training, all at once.

    Parameters
    ----------
    network : nn.Module
        Whose `QuantizedWeight` parametrisations of that kind then find their projection ready.
    compiled : bool
        Fuse the operations by `torch.compile`.

    Notes
    -----
    Each weight is as if projected alone, to the rounding of float64 sums.
    """

    def __init__(self, network: nn.Module, *, compiled: bool = False) -> None:
        groups: dict[int, list[Layer]] = {}
        for layer in network.modules():
            if isinstance(layer, parametrize.ParametrizationList):
                quantizer = layer[0]
                if isinstance(quantizer, QuantizedWeight) and quantizer.projection == "alternating":
                    groups.setdefault(quantizer.bits, []).append((quantizer, layer.original))
        self._groups = [_Group.of(bits, layers) for bits, layers in groups.items()]
        self._project: Callable[[Tensor, Tensor, Tensor, int], tuple[Tensor, Tensor]] = (
            torch.compile(_project, dynamic=False) if compiled else _project
        )

    @torch.no_grad()
    def __call__(self) -> None:
        """Take the iterations of one training step, and hand each layer its projection."""
        for group in self._groups:
            layers, counts = group.layers, group.counts
            for (quantizer, weights), part in zip(
                layers, torch.split(group.padded, counts), strict=True
            ):
                own = _rows(weights, quantizer)
                part[:, : own.shape[1]] = own
            steps = torch.cat([quantizer.step for quantizer, _ in layers])
            projected, steps = self._project(group.padded, steps, group.lengths, group.bits)
            for (quantizer, weights), part, step in zip(
                layers, torch.split(projected, counts), torch.split(steps, counts), strict=True
            ):
                quantizer.step.copy_(step)
                # The part's rows are longer than the weights: only its numbers are theirs.
                own = part[:, : weights.numel() // len(part)].contiguous()
                quantizer.ready = own.as_strided(weights.shape, weights.stride())


def _rows(weights: Tensor, quantizer: QuantizedWeight) -> Tensor:
    """View dense weights (R, m), one row for each step, as they lie in memory."""
    count = len(weights) if quantizer.per_channel else 1
    size = weights.numel() // count
    return weights.detach().as_strided((count, size), (size, 1))


def _project(rows: Tensor, steps: Tensor, lengths: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    if bits == 1:  # the padding would count as levels
        steps = rows.abs().sum(1, keepdim=True, dtype=torch.float64) / lengths
    else:
        steps = lloyd_step(rows, bits, steps, LLOYD_ITERATIONS)
    return on_levels(rows, steps, bits), steps
