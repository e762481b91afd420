"""One step of the optimizer on a prepared batch; with ``run.cuda_graph`` it is one CUDA graph."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from faqd_train.config.schema import Config
from faqd_train.networks.adapters import WithAdapters
from faqd_train.networks.precision import at_least_float32, running_in
from faqd_train.networks.taps import tapped
from faqd_train.quantization.together import AlternatingProjections
from faqd_train.quantization.weights import blend_shadow_weights
from faqd_train.training import distributed
from faqd_train.training.compiling import Context, check_same_gradient, compiled
from faqd_train.training.divergence import Guard, stop_unless_finite
from faqd_train.training.graphs import GraphedFunction
from faqd_train.training.objective import objective_terms, weighted_sum
from faqd_train.training.optimizer import gradient_norm, rates_on_device
from faqd_train.training.state import TrainingState
from faqd_train.training.task import Task


@dataclass(frozen=True)
class Batch:
    """What a step learns from: this process's part of a batch.

    Attributes
    ----------
    size : int
        Images of all processes.
    inputs : Tensor (B, C, H, W)
        As the networks take them.
    labels : Tensor (B,), int64, optional
        Where the objective has a label term.
    logits : Tensor (B, classes), optional
        The teacher's.
    maps : tuple of Tensors (B, C, H, W)
        The teacher's, one for each tap.
    """

    size: int
    inputs: Tensor
    labels: Tensor | None = None
    logits: Tensor | None = None
    maps: tuple[Tensor, ...] = ()

    @property
    def tensors(self) -> list[Tensor]:
        """All that is there, in the order of the attributes."""
        given = (self.inputs, self.labels, self.logits, *self.maps)
        return [tensor for tensor in given if tensor is not None]

    def with_tensors(self, tensors: Sequence[Tensor]) -> Batch:
        """Return a batch of the same parts, of other `tensors`."""
        inputs, *rest = tensors
        labels = None if self.labels is None else rest.pop(0)
        logits = None if self.logits is None else rest.pop(0)
        return Batch(self.size, inputs, labels, logits, tuple(rest))


class Update:
    """The step of a task's optimizer: static shapes, and no wait for the device.

    Parameters
    ----------
    task, config, state, guard
        Of the training: the step moves the state, and the guard watches it.
    """

    def __init__(self, task: Task, config: Config, state: TrainingState, guard: Guard) -> None:
        objective, device = config.objective, task.images.device
        self._config, self._state, self._guard = config, state, guard
        self._device = device
        self._compiling: Context = (
            compiled(task.student, device) if config.run.compile else nullcontext
        )
        self._taps = objective.taps
        self._open = ExitStack()
        maps = self._open.enter_context(tapped(task.student, self._taps))
        to_logits = set(objective.weights) != {"fa"}  # FA alone does not reach the classifier
        self._network = WithAdapters(task.student, task.adapters, maps, self._taps, to_logits)
        self._parallel = distributed.parallel(self._network, all_used=to_logits)
        self._is_checked = not config.run.compile
        self._batch: Batch | None = None  # of the step in progress
        self._graphed: GraphedFunction | None = None
        if config.run.cuda_graph:
            self._graphed = GraphedFunction(self._step, [state.streams.probes])
            self._project = AlternatingProjections(task.student, compiled=config.run.compile)
        # What a graph reads, where the schedule's numbers would be constants of it.
        groups = state.optimizer.param_groups
        self._rates = [torch.zeros((), device=device) for _ in groups]

    def close(self) -> None:
        """Take the taps off the student."""
        self._open.close()

    def start_epoch(self) -> None:
        """Take over the epoch's learning rates."""
        for rate, group in zip(self._rates, self._state.optimizer.param_groups, strict=True):
            rate.fill_(group["lr"])

    def __call__(self, batch: Batch) -> None:
        """Take one step."""
        if not self._is_checked:
            self._check_compiled(batch)
        self._batch = batch
        if self._graphed:
            self._graphed(*batch.tensors)
        else:
            self._step(*batch.tensors)
        self._batch = None  # its memory is free before other runs have their turn

    def wait(self) -> None:
        """Let what follows on the device wait for the steps so far."""
        if self._graphed:
            self._graphed.join()

    def _step(self, *tensors: Tensor) -> None:
        assert self._batch is not None  # it says which tensors these are, and of how many images
        batch, state, config = self._batch.with_tensors(tensors), self._state, self._config
        if self._graphed:
            self._project()
        with self._compiling():
            terms, outputs = self._terms(self._parallel, batch)
        loss = weighted_sum(terms, config.objective)
        state.optimizer.zero_grad()
        count = len(batch.inputs)
        torch.autograd.backward(loss * distributed.weight(count, batch.size))
        norm = gradient_norm(state.optimizer)
        blend_shadow_weights(state.student, config.quantization.blend)
        with rates_on_device(state.optimizer, self._rates) if self._graphed else nullcontext():
            state.optimizer.step()
        state.add({**terms, "loss": loss, "gradient": norm}, count)
        self._guard.watch(terms, loss, norm, outputs)

    def _terms(
        self, network: nn.Module, batch: Batch
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the terms of the objective, and what else is watched."""
        with running_in(self._config.run.precision, self._device):
            logits, maps = network(batch.inputs)
        terms = objective_terms(
            at_least_float32(logits),
            config=self._config.objective,
            teacher_logits=batch.logits,
            map_pairs=[(maps[tap], of) for tap, of in zip(self._taps, batch.maps, strict=True)],
            labels=batch.labels,
            probes=self._state.streams.probes,
            batch_size=batch.size,
            compiled=self._config.run.compile and self._graphed is not None,
        )
        outputs = {f"the student's map at {tap}": maps[tap] for tap in self._taps}
        return terms, outputs | ({"a logit of the student": logits} if self._taps else {})

    def _check_compiled(self, batch: Batch) -> None:
        """Refuse compiled passes that lose the gradient of the plain ones (ValueError)."""
        before = {name: value.clone() for name, value in self._network.state_dict().items()}
        probes = self._state.streams.probes
        drawn = probes.get_state()
        parameters = [p for p in self._network.parameters() if p.requires_grad]
        gradients = []
        for context in (nullcontext, self._compiling):
            if self._graphed:
                self._project()
            with context():
                terms, _ = self._terms(self._network, batch)
            loss = weighted_sum(terms, self._config.objective)
            found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
            gradients.append(torch.cat([gradient.flatten() for gradient in found]))
            self._network.load_state_dict(before)
            probes.set_state(drawn)
        check_same_gradient(*gradients)
        self._is_checked = True

    def look_at_last_step(self, batch: Batch) -> None:
        """Stop if the last step has led where nothing is finite, which no loss has seen.

        The student is in evaluation mode.

        Raises
        ------
        TrainingDiverged
            Naming the value or the weight.
        """
        probes = self._state.streams.probes
        drawn = probes.get_state()
        with torch.no_grad():
            terms, outputs = self._terms(self._network, batch)
        probes.set_state(drawn)
        self._guard.watch(terms, weighted_sum(terms, self._config.objective), None, outputs)
        self._guard.check(self._state.epoch)
        epoch, step = self._state.epoch, self._state.batches + 1
        stop_unless_finite(self._network.state_dict(), epoch=epoch, step=step)
