"""The training loop, to read from top to bottom. Every kind of run passes through it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from faqd_train import distributed
from faqd_train.adapters import adapt
from faqd_train.checkpoints import Checkpoints
from faqd_train.config import Config, ObjectiveConfig
from faqd_train.data import fingerprint
from faqd_train.guards import CHECK_EVERY, Guard, stop_unless_finite
from faqd_train.interruption import Interrupted, Stop
from faqd_train.objective import objective_terms, weighted_sum
from faqd_train.optimization import gradient_norm, make_optimizer, make_schedule
from faqd_train.precision import lay_out, memory_format, running_in, widened
from faqd_train.probes import generator_on
from faqd_train.quantize_weights import blend_shadow_weights
from faqd_train.streams import Streams
from faqd_train.taps import tapped
from faqd_train.training_state import Epoch, TrainingState

Prepare = Callable[[Tensor, torch.Generator | None], Tensor]


def fit(
    student: nn.Module,
    images: Tensor,
    config: Config,
    *,
    streams: Streams,
    prepare: Prepare,
    teacher: nn.Module | None = None,
    adapters: nn.ModuleList | None = None,
    labels: Tensor | None = None,
    validate: Callable[[nn.Module], float] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    checkpoints: Checkpoints | None = None,
    stop: Stop = lambda: None,
) -> TrainingState:
    """Minimise the objective of §7 over a network and its adapters, in place.

    Parameters
    ----------
    student : nn.Module
        Trained; a teacher in the making where labels are the only term.
    images : Tensor (N, C, H, W)
        What ``prepare`` takes, on the device of the networks.
    config : Config
        Its objective and optimizer, and the precision in its run section.
    streams : Streams
        The random streams for data order, augmentation and probes. Probes are drawn on the
        images' device, by another generator of the same seed if need be.
    prepare : callable
        Makes a batch of images a network's input; the generator is for augmentation.
    teacher : nn.Module, optional
        Needed for the terms kd and fa; put in evaluation mode, never trained.
    adapters : nn.ModuleList, optional
        Needed for fa: one a tap, trained with the student.
    labels : Tensor (N,), int64, optional
        Needed if, and accepted only if, the label weight is positive.
    validate : callable, optional
        Gives an accuracy to report after each epoch, and to choose the best one by.
    on_epoch : callable, optional
        Called with each epoch's record.
    checkpoints : Checkpoints, optional
        Where the state is saved, and resumed from: to the same bits, on CPU, as without a break.
    stop : callable, optional
        Asked after each step; a signal's name ends the training there.

    Returns
    -------
    TrainingState
        With the epochs' records in ``history`` and the best weights in ``best``.

    Raises
    ------
    ValueError
        If what the objective needs is missing, or more is given; if the checkpoint to resume
        from is damaged or of another run.
    TrainingDiverged
        If maps, logits, loss, gradients or the last weights are not finite, or the loss explodes;
        that of the last weights, in evaluation mode, counts too.
    Interrupted
        If ``stop`` named a signal; the state is saved.
    OSError
        If a checkpoint cannot be written; the one before is kept.
    """
    objective, epochs, device = config.objective, config.optimizer.epochs, images.device
    check_teacher(teacher, objective)
    _check_needed("adapters", adapters, objective.fa, "objective.fa")
    _check_needed("labels", labels, objective.label, "objective.label")
    pairs = objective.tap_pairs if objective.fa > 0 else ()
    taps = tuple(tap for tap, _ in pairs)
    distributed.check_parts(len(images), config.optimizer.batch_size)
    layout = memory_format(config.run.channels_last)
    distributed.synchronise_norms(student)
    lay_out(student, layout)
    optimizer = make_optimizer(student, adapters, config.optimizer)
    schedule = make_schedule(optimizer, config.optimizer)
    streams = replace(streams, probes=generator_on(device, streams.probes))
    state = TrainingState(student, adapters, optimizer, schedule, streams)
    saved = checkpoints.load() if checkpoints else None
    if saved:
        state.restore(saved)
    guard = Guard()
    reading_teacher = (
        tapped(teacher.eval(), [tap for _, tap in pairs])
        if teacher is not None
        else nullcontext(dict[str, Tensor]())
    )
    with tapped(student, taps) as student_maps, reading_teacher as teacher_maps:
        to_logits = objective.kd + objective.label > 0  # FA alone does not reach the classifier
        together = _Trained(student, adapters, student_maps, taps, to_logits)
        trained = distributed.parallel(together, all_used=to_logits)

        def terms_of(
            network: nn.Module,
            batch: Tensor,
            augment: torch.Generator | None,
            probes: torch.Generator,
        ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
            """Return the terms on this process's part of a batch, and what the guard sees more."""
            # Several processes augment the whole batch alike, and each keeps its part.
            part = distributed.part_of(batch)
            inputs = distributed.part_of(prepare(images[batch], augment))
            inputs = inputs.contiguous(memory_format=layout)
            # Tensors of inference mode would not tell that a module overwrites them (taps).
            with torch.no_grad(), running_in(config.run.teacher_precision, device):
                teacher_logits = None if teacher is None else teacher(inputs)
            with running_in(config.run.precision, device):
                logits, maps = network(inputs)
            terms = objective_terms(
                widened(logits),
                config=objective,
                teacher_logits=None if teacher_logits is None else widened(teacher_logits),
                map_pairs=[(maps[tap], teacher_maps[other]) for tap, other in pairs],
                labels=None if labels is None else labels[part],
                probes=probes,
                batch_size=len(batch),
            )
            outputs = {f"the student's map at {tap}": maps[tap] for tap in taps}
            return terms, outputs | ({"a logit of the student": logits} if taps else {})

        while state.epoch <= epochs:
            start = time.perf_counter() - state.seconds
            student.train()
            order = state.draw_order(len(images)).to(device)
            batches = torch.split(order, config.optimizer.batch_size)
            for batch in batches[state.batches :]:
                step, part = state.batches + 1, distributed.part_of(batch)
                terms, outputs = terms_of(trained, batch, streams.augment, streams.probes)
                loss = weighted_sum(terms, objective)
                optimizer.zero_grad()
                torch.autograd.backward(loss * distributed.weight(part, batch))
                norm = gradient_norm(optimizer)
                blend_shadow_weights(student, config.quantization.blend)
                optimizer.step()

                state.add({**terms, "loss": loss, "gradient": norm}, len(part))
                guard.watch(step, terms, loss, norm, state.first_loss, outputs)
                if step % CHECK_EVERY == 0:
                    guard.check(state.epoch)
                asked = distributed.agree(stop(), (state.epoch - 1) * len(batches) + step, device)
                if checkpoints and (asked or checkpoints.due(step)):
                    guard.check(state.epoch)
                    save(checkpoints, state, seconds=time.perf_counter() - start)
                if asked:
                    raise Interrupted(f"{asked} came in epoch {state.epoch}, step {step}")

            guard.check(state.epoch)
            if state.epoch == epochs:  # no loss has seen what the last step did
                student.eval()
                probes, after = streams.probes.clone_state(), len(batches) + 1
                with torch.no_grad():
                    terms, outputs = terms_of(together, batches[-1], None, probes)
                loss = weighted_sum(terms, objective)
                guard.watch(after, terms, loss, None, state.first_loss, outputs)
                guard.check(state.epoch)
                stop_unless_finite(together.state_dict(), epoch=state.epoch, step=after)
            means = state.means(len(images))
            record = Epoch(
                epoch=state.epoch,
                epochs=epochs,
                lr=float(schedule.get_last_lr()[0]),
                loss=means.pop("loss"),
                gradient_norm=means.pop("gradient"),
                terms=means,
                order_sha256=fingerprint(order),
                validation_accuracy=validate(student) if validate else None,
                seconds=time.perf_counter() - start,
            )
            schedule.step()
            state.finish_epoch(record)
            if on_epoch:
                on_epoch(record)
            # Last: what is reported but not saved is done again, and reported again.
            if checkpoints:
                save(checkpoints, state)
    return state


class _Trained(nn.Module):
    """Student and adapters as one network, which gives logits and adapted maps."""

    def __init__(
        self,
        student: nn.Module,
        adapters: nn.ModuleList | None,
        maps: dict[str, Tensor],
        taps: tuple[str, ...],
        to_logits: bool,
    ) -> None:
        super().__init__()
        self.student, self.adapters = student, adapters
        self._maps, self._taps, self._to_logits = maps, taps, to_logits

    def forward(self, inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self.student(inputs)
        maps = adapt(self._maps, self.adapters, self._taps)
        return logits if self._to_logits else logits.detach(), maps


def save(checkpoints: Checkpoints, state: TrainingState, seconds: float = 0.0) -> None:
    """Write one checkpoint for all processes, so many seconds into the epoch."""
    state.sums = {name: distributed.on_main(value) for name, value in state.sums.items()}
    if distributed.is_main():
        checkpoints.save(state.to_tree(seconds))


@torch.no_grad()
def accuracy(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    prepare: Prepare,
    precision: str = "float32",
    batch_size: int = 500,
) -> float:
    """Return the share of images whose largest logit is the label, in evaluation mode.

    Images, labels and network are on one device; ``prepare`` is called without a generator.
    """
    network.eval()
    hits = []
    # Not in parametrize.cached(): its cache is the process's, and runs in other threads train on.
    with running_in(precision, images.device):
        for batch, truth in zip(
            torch.split(images, batch_size), torch.split(labels, batch_size), strict=True
        ):
            hits.append((network(prepare(batch, None)).argmax(1) == truth).sum())
    return float(torch.stack(hits).sum()) / len(labels)


def check_teacher(teacher: object | None, objective: ObjectiveConfig) -> None:
    """Refuse a missing teacher, and one that no term would ask (ValueError)."""
    _check_needed("teacher", teacher, objective.kd + objective.fa, "objective.kd or objective.fa")


def _check_needed(what: str, value: object | None, weight: float, name: str) -> None:
    if weight > 0 and value is None:
        raise ValueError(
            f"{what} is None, which a positive {name} needs: give it or set that to 0."
        )
    if weight == 0 and value is not None:
        raise ValueError(
            f"{what} is given, but nothing uses it: leave it out or make {name} positive."
        )
