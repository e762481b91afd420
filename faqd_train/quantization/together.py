"""All alternating weight projections of a network in a few large operations (Q3).

A network has many small layers. On a GPU nearly all of the time of projecting them one by one goes
into starting small kernels. Here their rows are padded to one length.
"""

from __future__ import annotations

from collections.abc import Callable

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
        self._groups = groups
        self._project: Callable[[Tensor, Tensor, Tensor, int], tuple[Tensor, Tensor]] = (
            torch.compile(_project, dynamic=False) if compiled else _project
        )

    @torch.no_grad()
    def __call__(self) -> None:
        """Take the iterations of one training step, and hand each layer its projection."""
        for bits, layers in self._groups.items():
            rows = [_rows(weights, quantizer) for quantizer, weights in layers]
            counts = [len(part) for part in rows]
            longest = max(part.shape[1] for part in rows)
            padded = rows[0].new_zeros(sum(counts), longest)
            parts = torch.split(padded, counts)
            for own, part in zip(rows, parts, strict=True):
                part[:, : own.shape[1]] = own
            lengths = _lengths(rows, padded.device)
            steps = torch.cat([quantizer.step for quantizer, _ in layers])
            projected, steps = self._project(padded, steps, lengths, bits)
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


def _lengths(rows: list[Tensor], device: torch.device) -> Tensor:
    """Return the unpadded length of each row (R, 1); filled on the device, without a copy."""
    return torch.cat(
        [torch.full((len(p), 1), p.shape[1], dtype=torch.float64, device=device) for p in rows]
    )


def _project(rows: Tensor, steps: Tensor, lengths: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    if bits == 1:  # the padding would count as levels
        steps = rows.abs().sum(1, keepdim=True, dtype=torch.float64) / lengths
    else:
        steps = lloyd_step(rows, bits, steps, LLOYD_ITERATIONS)
    return on_levels(rows, steps, bits), steps
