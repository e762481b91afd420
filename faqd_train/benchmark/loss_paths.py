"""Each way to one loss and its gradient, timed beside the others on the same maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from faqd_train.benchmark.limits import Limits
from faqd_train.benchmark.peak_memory import peak_bytes
from faqd_train.benchmark.shapes import Shape, Work, multiply_adds
from faqd_train.benchmark.timing import Budget, Spread, interleaved, spread
from faqd_train.losses import affinity as losses
from faqd_train.losses import released as released_losses

K = 15
RELEASED_FA, RELEASED_FFA = "released FA, direct", "released FFA, k = 15"
SLOWEST = 0.5  # seconds that direct FA of ours may take by its multiply-adds, at the best rate

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Path:
    """One way to a loss of order 2, and what it computes."""

    name: str
    work: Work
    loss: Loss


@dataclass(frozen=True)
class Row:
    """What a path costs at a shape, forward and backward in the student.

    Attributes
    ----------
    path : str
        Its name.
    seconds : Spread or None
        Wall time.
    peak_bytes : int or None
        Held at the peak beyond the two maps; the gradient counts.
    multiply_adds : int
        That the path needs at least.
    limit_seconds : float
        The least time by the machine's measured rates.
    not_run : str or None
        Why there are no measurements.
    """

    path: str
    seconds: Spread | None
    peak_bytes: int | None
    multiply_adds: int
    limit_seconds: float
    not_run: str | None = None


@dataclass(frozen=True)
class Table:
    """All paths at one shape, and the batch at which released direct FA was to fit."""

    shape: Shape
    full_batch: int
    rows: list[Row]

    def median(self, path: str) -> float | None:
        """Return a path's median time, None where it was not run."""
        (row,) = (row for row in self.rows if row.path == path)
        return None if row.seconds is None else row.seconds.median


def loss_paths(generator: torch.Generator) -> tuple[Path, ...]:
    """Return the paths; the generator draws the fresh probes of FFA."""
    return (
        Path(RELEASED_FA, "direct", partial(released_losses.fa_loss, order=2)),
        Path(RELEASED_FFA, "ffa", partial(released_losses.ffa_loss, k=K, order=2)),
        Path("FA, auto", "exact", losses.fa_loss),
        Path("FA, Gram", "gram", partial(losses.fa_loss, method="gram")),
        Path("FA, direct", "direct", partial(losses.fa_loss, method="direct")),
        Path("FFA, k = 15", "ffa", partial(losses.ffa_loss, k=K, generator=generator)),
    )


def measure_losses(
    shape: Shape,
    *,
    full_batch: int,
    limits: Limits,
    memory: float,
    budget: Budget,
    device: torch.device,
    generator: torch.Generator,
) -> Table:
    """Time every path at a shape, and measure its peak of memory.

    Parameters
    ----------
    shape : Shape
        Of the maps: random, with a ReLU's zeros.
    full_batch : int
        The batch that the shape had before it was lowered, for the table.
    limits : Limits
        The machine's rates.
    memory : float
        Bytes that released direct FA may take; where it would need more it is not run.
    budget : Budget
        Of repetitions.
    device : torch.device
        Where.
    generator : torch.Generator
        Draws maps and the order of the calls; its device, the CPU, does not matter to the times.
    """
    student, teacher = relu_maps(shape, device=device, generator=generator)
    paths = loss_paths(torch.Generator(device).manual_seed(generator.initial_seed()))
    reasons = {path.name: _why_not(path, shape, limits, memory) for path in paths}
    run = [path for path in paths if reasons[path.name] is None]
    calls = [partial(gradient, path.loss, student, teacher) for path in run]
    peaks = [peak_bytes(call, device) for call in calls]
    times = interleaved(calls, budget, device=device, generator=generator)
    measured = {
        path.name: (spread(seconds), peak)
        for path, seconds, peak in zip(run, times, peaks, strict=True)
    }
    rows = []
    for path in paths:
        time, peak = measured.get(path.name, (None, None))
        work, least = multiply_adds(path.work, shape, K), limits.seconds(path.work, shape)
        rows.append(Row(path.name, time, peak, work, least, reasons[path.name]))
    return Table(shape, full_batch, rows)


def relu_maps(
    shape: Shape, *, device: torch.device, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw a student that requires a gradient, and a teacher, both float32.

    Half of the entries are 0, as after a ReLU. Few channels would leave a pixel in 2^C dead, of
    which released FFA makes NaN (R4): the first channel is never 0.
    """
    size = (2, shape.batch, shape.channels, shape.side, shape.side)
    maps = torch.randn(size, generator=generator)
    maps[:, :, 0].abs_()
    student, teacher = maps.relu_().to(device).unbind()
    return student.clone().requires_grad_(), teacher.clone()


def gradient(loss: Loss, student: Tensor, teacher: Tensor) -> Sequence[Tensor]:
    """Run a loss forward and backward; nothing is accumulated."""
    return torch.autograd.grad(loss(student, teacher), student)


def _why_not(path: Path, shape: Shape, limits: Limits, memory: float) -> str | None:
    """Say why a path is not run at a shape, if it is not."""
    if path.name == RELEASED_FA:
        too_large = shape.released_bytes > memory
        return f"needs {shape.released_bytes / 1e9:.3g} GB" if too_large else None
    expected = limits.seconds(path.work, shape)
    if path.work == "direct" and expected > SLOWEST:
        return f"over {expected:.3g} s"
    return None
