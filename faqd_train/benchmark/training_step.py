"""A whole training step, `faqd_train.training.loop.Training.step`, beside the released one."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from faqd_train.benchmark.released_step import released_step, released_terms
from faqd_train.benchmark.timing import (
    IN_A_ROW,
    WARM_UP,
    Budget,
    Call,
    Spread,
    seconds,
    spread,
    time_rows,
)
from faqd_train.config.networks import PreActResNetConfig
from faqd_train.config.objective import AffinityConfig, MseConfig
from faqd_train.config.quantization import FLOAT_BITS, RELEASED_BITS, QuantizationConfig
from faqd_train.config.schema import Config
from faqd_train.data import Description
from faqd_train.losses import released as released_losses
from faqd_train.networks.adapters import adapt, make_adapters
from faqd_train.networks.building import build_network
from faqd_train.networks.taps import tapped
from faqd_train.quantization.activations import calibrate
from faqd_train.quantization.model import quantize_as_configured, quantize_model
from faqd_train.training.distill import as_given
from faqd_train.training.loop import Training
from faqd_train.training.objective import MapPairs, affinity_term, objective_terms
from faqd_train.training.seeds import make_streams
from faqd_train.training.task import Task
from faqd_train.training.teacher import make_teacher_pass

CLASSES, SIDE = 10, 32
TEACHER_DEPTH = 110


@dataclass(frozen=True)
class StepCost:
    """Seconds of a step, and of FA alone, forward and backward, on the maps of one step."""

    step: Spread
    fa: Spread

    @property
    def fa_share(self) -> float:
        """FA's part of the step."""
        return self.fa.median / self.step.median


@dataclass(frozen=True)
class StepComparison:
    """Two ways to one training step.

    Attributes
    ----------
    config : dict
        Of our step.
    teacher_depth : int
        Of its ResNet.
    batch : int
        Images per step.
    released, ours : StepCost
        What each costs.
    differences : dict
        Of kd and fa: how far the released losses are from ours on the same logits and maps; see
        `differences`.
    """

    config: dict[str, Any]
    teacher_depth: int
    batch: int
    released: StepCost
    ours: StepCost
    differences: dict[str, float]


@dataclass(frozen=True)
class Networks:
    """A teacher in evaluation mode, a float student, and adapters; steps train copies."""

    teacher: nn.Module
    student: nn.Module
    adapters: nn.ModuleList


def measure_step(
    config: Config,
    *,
    teacher_depth: int = TEACHER_DEPTH,
    budget: Budget,
    device: torch.device,
    generator: torch.Generator,
) -> StepComparison:
    """Time training steps, a few in a row, in turn with released steps and FA alone by both ways.

    Images are random, of 3×32×32; the networks are untrained, the batch norms of the teacher set
    by the batch. Two rows of each come first and do not count; of each row the first call does not
    count either.

    Parameters
    ----------
    config : Config
        Of our step. The released one has its network, bits and weights of kd and fa, and quantizes
        by its own rules.
    teacher_depth : int
        Of its ResNet.
    budget, device, generator
        As in `measure_losses`.

    Raises
    ------
    ValueError
        If the configuration has other terms or bits than a released step.
    """
    check_comparable(config)
    inputs = torch.randn(config.optimizer.batch_size, 3, SIDE, SIDE, generator=generator).to(device)
    networks = make_networks(config, teacher_depth, inputs)
    outputs = _outputs(networks, inputs, config)
    pairs = outputs["map_pairs"]
    with torch.no_grad():
        compared = differences(config, **outputs)
    student = quantize_model(
        deepcopy(networks.student),
        FLOAT_BITS,
        config.quantization.activation_bits,
        activation_rule="released",
    )
    with released_step(
        student,
        deepcopy(networks.adapters),
        networks.teacher,
        inputs,
        weight_bits=config.quantization.weight_bits,
        objective=config.objective,
        optimizer=config.optimizer,
    ) as step:
        others: dict[str, Call] = {
            "released step": step,
            "released FA": partial(_fa_alone, _released_fa, pairs),
            "FA": partial(_fa_alone, partial(_our_fa, config=config), pairs),
        }
        times = _time_steps(config, networks, inputs, others, budget, generator)
    costs = {name: spread(found) for name, found in times.items()}
    return StepComparison(
        config=config.model_dump(mode="json", exclude={"data"}),
        teacher_depth=teacher_depth,
        batch=len(inputs),
        released=StepCost(costs["released step"], costs["released FA"]),
        ours=StepCost(costs["step"], costs["FA"]),
        differences=compared,
    )


def make_networks(config: Config, teacher_depth: int, inputs: Tensor) -> Networks:
    """Build the networks of a configuration, drawn from its streams."""
    streams = make_streams(config.run.seed)
    floats = QuantizationConfig(weights=None, activations=None)
    images = Description(channels=3, side=SIDE, classes=CLASSES)
    student, teacher = (
        build_network(model, floats, images, streams.weights)
        for model in (config.model, config.model.model_copy(update={"depth": teacher_depth}))
    )
    student, teacher = student.to(inputs.device), teacher.to(inputs.device)
    calibrate(teacher, inputs)  # untrained, its maps would otherwise grow from block to block
    adapters = make_adapters(
        student, teacher.eval(), inputs[:2], config.objective.taps, streams.adapters
    )
    return Networks(teacher, student, adapters)


def differences(
    config: Config, *, logits: Tensor, teacher_logits: Tensor, map_pairs: MapPairs
) -> dict[str, float]:
    """Compare the losses of both steps on the same outputs, relative to ours.

    A released FA r of order 2 is our r²/B but for the offset in its norms, some 1e-5 of the least
    norm. That is seen in float64, sample by sample. In float32 its one sum over all entries and
    samples loses more, which is given separately.
    """
    ours = objective_terms(
        logits,
        config=config.objective,
        teacher_logits=teacher_logits,
        map_pairs=map_pairs,
        probes=make_streams(config.run.seed).probes,
    )
    kd, fa = released_terms(logits, teacher_logits, map_pairs)
    samples = [
        (student[b : b + 1].double(), teacher[b : b + 1].double())
        for student, teacher in map_pairs
        for b in range(len(logits))
    ]
    precise = torch.stack([released_losses.fa_loss(*sample, order=2) for sample in samples])
    theirs = {"kd": kd, "fa": precise.square().sum() / len(logits)}
    theirs["fa in float32"] = torch.stack(fa).square().sum() / len(logits)
    return {
        name: abs(value.item() / ours[name.split()[0]].item() - 1) for name, value in theirs.items()
    }


def _outputs(networks: Networks, inputs: Tensor, config: Config) -> dict[str, Any]:
    """Return logits of both networks, and pairs of maps of which the student's are leaves."""
    taps = config.objective.taps
    student = quantize_as_configured(deepcopy(networks.student), config.quantization)
    calibrate(student, inputs)
    with (
        torch.no_grad(),
        tapped(student, taps) as maps,
        tapped(networks.teacher, taps) as teacher_maps,
    ):
        logits, teacher_logits = student(inputs), networks.teacher(inputs)
        adapted = adapt(maps, networks.adapters, taps)
    pairs = [(adapted[tap].requires_grad_(), teacher_maps[tap]) for tap in taps]
    return {"logits": logits, "teacher_logits": teacher_logits, "map_pairs": pairs}


def _fa_alone(loss: Callable[[MapPairs], Tensor], pairs: MapPairs) -> object:
    return torch.autograd.grad(loss(pairs), [student for student, _ in pairs])


def _released_fa(pairs: MapPairs) -> Tensor:
    return torch.stack([released_losses.fa_loss(*pair, order=2) for pair in pairs]).sum()


def _our_fa(pairs: MapPairs, config: Config) -> Tensor:
    probes = make_streams(config.run.seed).probes  # not drawn from: FA is exact
    exact = AffinityConfig(weight=1.0)
    return torch.stack([affinity_term(*pair, exact, probes) for pair in pairs]).sum()


def _time_steps(
    config: Config,
    networks: Networks,
    inputs: Tensor,
    others: dict[str, Call],
    budget: Budget,
    generator: torch.Generator,
) -> dict[str, list[float]]:
    """Return seconds of training steps, by "step", and of the other calls, timed in turn."""
    student = quantize_as_configured(deepcopy(networks.student), config.quantization)
    calibrate(student, inputs)
    row = IN_A_ROW * sum(seconds(call, inputs.device) for call in others.values())
    rows = WARM_UP + budget.rounds(row)
    optimizer = config.optimizer.model_copy(update={"epochs": 1, "warmup_epochs": 0})
    # One epoch, which does not end: its end is not part of a step.
    images = inputs.repeat(IN_A_ROW * rows + 1, 1, 1, 1)
    config = config.model_copy(update={"optimizer": optimizer})
    with make_teacher_pass(deepcopy(networks.teacher), config, lambda: inputs) as teacher:
        task = Task(
            student,
            images,
            as_given,
            make_streams(config.run.seed),
            teacher=teacher,
            adapters=deepcopy(networks.adapters),
        )
        with Training(task, config) as training:
            calls = {"step": training.step, **others}
            return time_rows(calls, rows, device=inputs.device, generator=generator)


def check_comparable(config: Config) -> None:
    """Refuse what the released step has no counterpart of (ValueError)."""
    objective, bits = config.objective, config.quantization
    kd, fa = objective.kd, objective.fa
    if (
        not isinstance(kd, MseConfig)
        or fa is None
        or objective.label is not None
        or (fa.order, fa.teacher_taps, fa.probes) != (2, None, None)
        or not isinstance(config.model, PreActResNetConfig)
        or {bits.weight_bits, bits.activation_bits} - set(RELEASED_BITS)
    ):
        raise ValueError(
            "the configuration is not of a step that can stand beside the released one; a ResNet "
            "of 1, 2 or 4 bits with KD by mse, exact FA of order 2 and no labels is accepted: "
            "change only how weights are projected, and run."
        )
