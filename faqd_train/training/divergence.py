"""Notice a training that diverges, without waiting for the device at every step."""

from __future__ import annotations

import torch
from torch import Tensor

# Look at what was watched after so many steps: each look waits for the device.
CHECK_EVERY = 25
# A loss is let grow to this many times its first value, or this value if the first is below 1.
EXPLOSION = 1000.0

_NEVER = 2**31 - 1
_EXPLODED = "explosion"


class TrainingDiverged(RuntimeError):
    """Logits, loss or gradients are no longer finite, or the loss exploded."""


class Guard:
    """Remembers on the device at which step each watched value first went wrong."""

    def __init__(self) -> None:
        self._first: Tensor | None = None
        self._names: list[str] = []

    def watch(
        self,
        step: int,
        terms: dict[str, Tensor],
        loss: Tensor,
        gradient_norm: Tensor | None,
        first_loss: Tensor | None,
        outputs: dict[str, Tensor] | None = None,
    ) -> None:
        """Note what is not finite, and whether the loss exploded.

        ``step`` counts within the epoch; ``first_loss`` is of the training's first step;
        ``outputs`` are tensors of any shape, of which the terms are made. All else are scalars,
        without a gradient's norm where there was no backward pass.
        """
        watched = dict(outputs or {})
        watched |= {f"the term {name}": value for name, value in terms.items()}
        watched |= {"the loss": loss}
        watched |= {} if gradient_norm is None else {"the gradient": gradient_norm}
        wrong = [~torch.isfinite(value.detach()).all() for value in watched.values()]
        start = loss if first_loss is None else first_loss
        wrong.append(loss.detach() > EXPLOSION * start.detach().clamp(min=1))
        seen = torch.where(torch.stack(wrong), step, _NEVER)
        self._names = [*watched, _EXPLODED]
        self._first = seen if self._first is None else torch.minimum(self._first, seen)

    def check(self, epoch: int) -> None:
        """Stop if a watched value went wrong, naming the first (TrainingDiverged)."""
        if self._first is None:
            return
        steps = self._first.tolist()
        if min(steps) < _NEVER:
            raise _diverged(epoch, min(steps), self._names[steps.index(min(steps))])
        self._first = None


def stop_unless_finite(tensors: dict[str, Tensor], *, epoch: int, step: int) -> None:
    """Stop if a tensor holds NaN or infinity (TrainingDiverged); waits for the device."""
    finite = torch.stack([torch.isfinite(tensor).all() for tensor in tensors.values()]).tolist()
    for name, whole in zip(tensors, finite, strict=True):
        if not whole:
            raise _diverged(epoch, step, name)


def _diverged(epoch: int, step: int, name: str) -> TrainingDiverged:
    what = (
        f"the loss exceeds {EXPLOSION:,.0f} times its start"
        if name == _EXPLODED
        else f"{name} is not finite"
    )
    return TrainingDiverged(
        f"training diverged in epoch {epoch}: {what} at step {step}; lower optimizer.lr."
    )
