"""The training loop, to read from top to bottom. Every kind of run passes through it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from faqd_train.config.schema import Config
from faqd_train.data import fingerprint
from faqd_train.losses.probes import generator_on
from faqd_train.networks.adapters import WithAdapters
from faqd_train.networks.precision import lay_out, memory_format, running_in, widened
from faqd_train.networks.taps import tapped
from faqd_train.quantization.weights import blend_shadow_weights
from faqd_train.training import distributed
from faqd_train.training.checkpoints import Checkpoints
from faqd_train.training.compiling import Context, compiled
from faqd_train.training.divergence import CHECK_EVERY, Guard, stop_unless_finite
from faqd_train.training.objective import check_needed, check_teacher, objective_terms, weighted_sum
from faqd_train.training.optimizer import gradient_norm, make_optimizer, make_schedule
from faqd_train.training.seeds import Streams
from faqd_train.training.signals import Interrupted, Stop
from faqd_train.training.state import Epoch, TrainingState
from faqd_train.training.teacher import CALIBRATION_IMAGES, TeacherPass, make_teacher_pass
from faqd_train.training.turns import Stopwatch, Turns, finish

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
        Needed if, and accepted only if, there is a label term.
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
        from is damaged or of another run; if passes cannot be compiled here but are to be.
    TrainingDiverged
        If maps, logits, loss, gradients or the last weights are not finite, or the loss explodes;
        that of the last weights, in evaluation mode, counts too.
    Interrupted
        If ``stop`` named a signal; the state is saved.
    OSError
        If a checkpoint cannot be written; the one before is kept.
    """
    with (
        nullcontext()
        if teacher is None
        else make_teacher_pass(teacher, config, lambda: prepare(images[:CALIBRATION_IMAGES], None))
    ) as teacher_pass:
        return finish(
            training(
                student,
                images,
                config,
                streams=streams,
                prepare=prepare,
                teacher=teacher_pass,
                adapters=adapters,
                labels=labels,
                validate=validate,
                on_epoch=on_epoch,
                checkpoints=checkpoints,
                stop=stop,
            )
        )


def training(
    student: nn.Module,
    images: Tensor,
    config: Config,
    *,
    streams: Streams,
    prepare: Prepare,
    teacher: TeacherPass | None,
    adapters: nn.ModuleList | None,
    labels: Tensor | None,
    validate: Callable[[nn.Module], float] | None,
    on_epoch: Callable[[Epoch], None] | None,
    checkpoints: Checkpoints | None,
    stop: Stop,
) -> Turns[TrainingState]:
    """Train as `fit` does, and pause before every pass of the teacher.

    Trainings of the same images, ``prepare`` and layout may have one teacher and take turns; of
    those whose batches are the same, the first has the pass taken for all.
    """
    objective, epochs, device = config.objective, config.optimizer.epochs, images.device
    check_teacher(teacher, objective)
    check_needed("adapters", adapters, objective.fa is not None, "objective.fa")
    check_needed("labels", labels, objective.label is not None, "objective.label")
    pairs = objective.tap_pairs
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
    compiling: Context = compiled(student, device) if config.run.compile else nullcontext
    with tapped(student, taps) as student_maps:
        if teacher:
            teacher.tap(objective.teacher_tapped)
        to_logits = set(objective.weights) != {"fa"}  # FA alone does not reach the classifier
        together = WithAdapters(student, adapters, student_maps, taps, to_logits)
        trained = distributed.parallel(together, all_used=to_logits)

        def terms_of(
            network: nn.Module,
            batch: Tensor,
            augment: torch.Generator | None,
            probes: torch.Generator,
        ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
            """Return the terms on this process's part of a batch, and what the guard sees more."""
            # These decide the inputs, as the images are the same: the order they come in, how many
            # at once, which batch of it, and the augmentation's numbers.
            drawn = None if augment is None else augment.get_state().numpy().tobytes()
            asked = order_sha256, config.optimizer.batch_size, state.batches, drawn
            # Several processes augment the whole batch alike, and each keeps its part.
            part = distributed.part_of(batch)
            inputs = distributed.part_of(prepare(images[batch], augment))
            inputs = inputs.contiguous(memory_format=layout)
            teacher_logits, teacher_maps = teacher(inputs, asked) if teacher else (None, {})
            with running_in(config.run.precision, device):
                logits, maps = network(inputs)
            terms = objective_terms(
                widened(logits),
                config=objective,
                teacher_logits=teacher_logits,
                map_pairs=[(maps[tap], teacher_maps[other]) for tap, other in pairs],
                labels=None if labels is None else labels[part],
                probes=probes,
                batch_size=len(batch),
            )
            outputs = {f"the student's map at {tap}": maps[tap] for tap in taps}
            return terms, outputs | ({"a logit of the student": logits} if taps else {})

        # What the two below compute is freed as they end, before other runs have their turn.

        def take_step(batch: Tensor) -> None:
            part = distributed.part_of(batch)
            with compiling():
                terms, outputs = terms_of(trained, batch, streams.augment, streams.probes)
            loss = weighted_sum(terms, objective)
            optimizer.zero_grad()
            torch.autograd.backward(loss * distributed.weight(part, batch))
            norm = gradient_norm(optimizer)
            blend_shadow_weights(student, config.quantization.blend)
            optimizer.step()
            state.add({**terms, "loss": loss, "gradient": norm}, len(part))
            guard.watch(state.batches, terms, loss, norm, state.first_loss, outputs)

        def look_at_last_step(batch: Tensor) -> None:
            """Stop if it has led where nothing is finite, which no loss has seen."""
            student.eval()
            probes, after = streams.probes.clone_state(), state.batches + 1
            with torch.no_grad():
                terms, outputs = terms_of(together, batch, None, probes)
            loss = weighted_sum(terms, objective)
            guard.watch(after, terms, loss, None, state.first_loss, outputs)
            guard.check(state.epoch)
            stop_unless_finite(together.state_dict(), epoch=state.epoch, step=after)

        while state.epoch <= epochs:
            watch = Stopwatch(state.seconds)
            student.train()
            order = state.draw_order(len(images))
            order_sha256 = fingerprint(order)
            batches = torch.split(order.to(device), config.optimizer.batch_size)
            for batch in batches[state.batches :]:
                with watch.paused():
                    yield state.epoch, state.batches
                take_step(batch)
                step = state.batches
                if step % CHECK_EVERY == 0:
                    guard.check(state.epoch)
                asked = distributed.agree(stop(), (state.epoch - 1) * len(batches) + step, device)
                if checkpoints and (asked or checkpoints.due(step)):
                    guard.check(state.epoch)
                    save(checkpoints, state, seconds=watch.seconds())
                if asked:
                    raise Interrupted(f"{asked} came in epoch {state.epoch}, step {step}")

            guard.check(state.epoch)
            if state.epoch == epochs:
                with watch.paused():
                    yield state.epoch, state.batches
                look_at_last_step(batches[-1])
            means = state.means(len(images))
            record = Epoch(
                epoch=state.epoch,
                epochs=epochs,
                lr=float(schedule.get_last_lr()[0]),
                loss=means.pop("loss"),
                gradient_norm=means.pop("gradient"),
                terms=means,
                order_sha256=order_sha256,
                validation_accuracy=validate(student) if validate else None,
                seconds=watch.seconds(),
            )
            schedule.step()
            state.finish_epoch(record)
            if on_epoch:
                on_epoch(record)
            # Last: what is reported but not saved is done again, and reported again.
            if checkpoints:
                save(checkpoints, state)
    return state


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
