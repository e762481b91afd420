"""Notice a training that diverges, without waiting for the device at every step."""

from __future__ import annotations

import torch
from torch import Tensor

# Look at what was watched after so many steps: each look waits for the device.
CHECK_EVERY = 25
# A loss may grow to this many times its first value, or to this value if the first is below 1.
EXPLOSION = 1000.0

_NEVER = 2**31 - 1
_EXPLODED = "explosion"


class TrainingDiverged(RuntimeError):
    """Logits, loss or gradients are no longer finite, or the loss exploded."""


class Guard:
    """Remembers on the device at which step of the epoch each watched value first went wrong.

    Its tensors keep their places in memory, so that a CUDA graph can hold `watch`.
    """

    def __init__(self, device: torch.device) -> None:
        self._step = torch.zeros((), dtype=torch.int64, device=device)
        self._first_loss = torch.full((), torch.nan, device=device)
        self._first: Tensor | None = None
        self._names: list[str] = []

    def start_epoch(self, step: int, first_loss: float | None) -> None:
        """Count on from this step; a loss is compared with that of the training's first step."""
        self._step.fill_(step)
        if first_loss is not None:
            self._first_loss.fill_(first_loss)

    @property
    def first_loss(self) -> float | None:
        """The loss of the training's first step, or None before it; waits for the device."""
        value = self._first_loss.item()
        return None if value != value else value

    def watch(
        self,
        terms: dict[str, Tensor],
        loss: Tensor,
        gradient_norm: Tensor | None,
        outputs: dict[str, Tensor],
    ) -> None:
        """Count a step, and note what is not finite and whether the loss exploded.

        ``outputs`` are tensors of any shape, of which the terms are made. All else are scalars;
        there is no norm of the gradient without a backward pass.
        """
        watched = outputs | {f"the term {name}": value for name, value in terms.items()}
        watched |= {"the loss": loss}
        watched |= {} if gradient_norm is None else {"the gradient": gradient_norm}
        wrong = [~torch.isfinite(value.detach()).all() for value in watched.values()]
        loss, start = loss.detach(), self._first_loss
        start.copy_(torch.where(start.isnan(), loss, start))
        wrong.append(loss > EXPLOSION * start.clamp(min=1))
        self._step += 1
        seen = torch.where(torch.stack(wrong), self._step, _NEVER)
        names = [*watched, _EXPLODED]
        if self._first is None or names != self._names:
            self._first, self._names = torch.full_like(seen, _NEVER), names
        self._first.copy_(torch.minimum(self._first, seen))

    def check(self, epoch: int) -> None:
        """Stop if a watched value went wrong, naming the first; waits for the device.

        Raises
        ------
        TrainingDiverged
            With the epoch, the step and the name of the value.
        """
        if self._first is None:
            return
        steps = self._first.tolist()
        if min(steps) < _NEVER:
            raise _diverged(epoch, min(steps), self._names[steps.index(min(steps))])


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
