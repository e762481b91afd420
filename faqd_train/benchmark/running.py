"""The parts of the benchmark, one after the other, and all they measured."""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace

import torch

from faqd_train.benchmark.growth import Growth, measure_growth
from faqd_train.benchmark.limits import Limits, measure_limits
from faqd_train.benchmark.loss_paths import Table, measure_losses
from faqd_train.benchmark.shapes import (
    GROWTH,
    STAGES,
    SWEEP,
    Shape,
    fitted,
    quick,
)
from faqd_train.benchmark.timing import Budget
from faqd_train.benchmark.training_step import (
    TEACHER_DEPTH,
    StepComparison,
    check_comparable,
    measure_step,
)
from faqd_train.config.files import load_config
from faqd_train.config.schema import Config
from faqd_train.training.compiling import check_compiling
from faqd_train.training.graphs import check_graphs

PARTS = ("losses", "sweep", "memory", "step")
# Of our step, beside the defaults of a run: what makes it fast.
FAST = (
    "run.teacher.folded=true",
    'run.teacher.precision="bfloat16"',
    'run.precision="bfloat16"',
    "run.channels_last=true",
    "run.compile=true",
)
_SMALL_STEP = ("model.depth=8", "optimizer.batch_size=2", "run.compile=false")

Part = Limits | Table | Growth | StepComparison


@dataclass(frozen=True)
class Plan:
    """How to measure.

    Attributes
    ----------
    device : torch.device
        Where.
    repetitions : int
        Of each call, where time allows.
    memory : float
        Bytes that released direct FA may take; batches are lowered to it.
    seed : int
        Of maps, images, probes and the order of calls.
    quick : bool
        Small shapes and few repetitions: to see that all runs, not for the numbers.
    settings : tuple of str
        Of our training step, as `faqd-train distill` takes them, after those of `FAST`.
    """

    device: torch.device
    repetitions: int = 20
    memory: float = 4e9
    seed: int = 0
    quick: bool = False
    settings: tuple[str, ...] = ()

    @property
    def budget(self) -> Budget:
        """Repetitions within some 20 seconds per table."""
        return Budget(min(self.repetitions, 6), 0.5) if self.quick else Budget(self.repetitions, 20)


@dataclass(frozen=True)
class Report:
    """What was measured, on what. Parts that were not measured are empty."""

    device: str
    threads: int
    torch: str
    seed: int
    quick: bool
    limits: Limits
    losses: list[Table] = field(default_factory=list)
    sweep: list[Table] = field(default_factory=list)
    memory: Growth | None = None
    step: StepComparison | None = None


def run(
    plan: Plan, parts: Collection[str] = PARTS, show: Callable[[Part], None] = lambda _: None
) -> Report:
    """Measure the parts named.

    Parameters
    ----------
    plan : Plan
        How.
    parts : names of `PARTS`
        losses: every path at the stages of the networks for CIFAR and Tiny ImageNet. sweep: every
        path at growing resolution. memory: exact FA from 16² to 224² pixels. step: a whole
        training step.
    show : callable
        Called with each result as it comes.

    Raises
    ------
    ValueError
        If a setting of the training step is refused, or cannot be had on this machine.
    """
    device, generator = plan.device, torch.Generator().manual_seed(plan.seed)
    config = _step_config(plan, parts)  # first, so that a wrong setting is refused at once
    limits = measure_limits(device, **({"entries": 2**20, "side": 256} if plan.quick else {}))
    report = Report(
        _name_of(device), torch.get_num_threads(), torch.__version__, plan.seed, plan.quick, limits
    )
    show(limits)

    def tables(shapes: Iterable[Shape], *, lower: bool) -> list[Table]:
        found = []
        for shape in map(quick, shapes) if plan.quick else shapes:
            found.append(
                measure_losses(
                    fitted(shape, plan.memory) if lower else shape,
                    full_batch=shape.batch,
                    limits=limits,
                    memory=plan.memory,
                    budget=plan.budget,
                    device=device,
                    generator=generator,
                )
            )
            show(found[-1])
        return found

    if "losses" in parts:
        report = replace(report, losses=tables(STAGES, lower=True))
    if "sweep" in parts:
        report = replace(report, sweep=tables(SWEEP[:2] if plan.quick else SWEEP, lower=False))
    if "memory" in parts:
        shapes = GROWTH[:2] if plan.quick else GROWTH
        growth = measure_growth(shapes, budget=plan.budget, device=device, generator=generator)
        report = replace(report, memory=growth)
        show(growth)
    if config is not None:
        comparison = measure_step(
            config,
            teacher_depth=8 if plan.quick else TEACHER_DEPTH,
            budget=plan.budget,
            device=device,
            generator=generator,
        )
        report = replace(report, step=comparison)
        show(comparison)
    return report


def _step_config(plan: Plan, parts: Collection[str]) -> Config | None:
    """Return the configuration of our training step, None where no step is measured."""
    if "step" in parts:
        settings = ["bits=4w4a", "labels=label-free", "method=fa"]
        settings += [*FAST, *(_SMALL_STEP if plan.quick else ()), *plan.settings]
        config = load_config("cifar10", settings)
        check_comparable(config)
        check_graphs(config.run.cuda_graph, plan.device)
        if config.run.compile:
            check_compiling(plan.device)
        return config
    if plan.settings:
        raise ValueError(
            f"settings are {' '.join(plan.settings)} but no training step is measured, which alone "
            f"has settings: measure the step too, or leave them out."
        )
    return None


def _name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
