"""The training loop, to read from top to bottom. Every kind of run passes through it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from faqd_train.config.schema import Config
from faqd_train.data import fingerprint
from faqd_train.losses.probes import generator_on
from faqd_train.networks.precision import (
    memory_format,
    running_in,
    set_memory_format,
)
from faqd_train.training import distributed
from faqd_train.training.checkpoints import Checkpoints
from faqd_train.training.divergence import CHECK_EVERY, Guard
from faqd_train.training.graphs import check_graphs
from faqd_train.training.optimizer import (
    make_optimizer,
    make_schedule,
)
from faqd_train.training.signals import Interrupted, Stop
from faqd_train.training.state import Epoch, TrainingState
from faqd_train.training.task import Prepare, Task
from faqd_train.training.update import Batch, Update


class Training:
    """A task in training: its state, and the step that moves it.

    Parameters
    ----------
    task : Task
        Its networks are changed in place, and laid out in memory as the configuration says.
    config : Config
        Its objective and optimizer, and the precision and the speed-ups in its run section.
    checkpoints : Checkpoints, optional
        Where the state is saved, and resumed from: to the same bits, on CPU, as without a break.

    Raises
    ------
    ValueError
        If what the objective needs is missing, or more is given; if the checkpoint to resume
        from is damaged or of another run; if passes cannot be compiled here but are to be.
    """

    def __init__(self, task: Task, config: Config, checkpoints: Checkpoints | None = None) -> None:
        objective, student, device = config.objective, task.student, task.images.device
        task.check(objective)
        check_graphs(config.run.cuda_graph, device)
        distributed.check_parts(len(task.images), config.optimizer.batch_size)
        self.task, self.config, self.checkpoints = task, config, checkpoints
        self._device, self._layout = device, memory_format(config.run.channels_last)
        distributed.synchronise_norms(student)
        set_memory_format(student, self._layout)
        optimizer = make_optimizer(
            student, task.adapters, config.optimizer, fused=config.run.cuda_graph
        )
        streams = replace(task.streams, probes=generator_on(device, task.streams.probes))
        self.state = TrainingState(
            student,
            task.adapters,
            optimizer,
            make_schedule(optimizer, config.optimizer),
            streams,
        )
        saved = checkpoints.load() if checkpoints else None
        if saved:
            self.state.restore(saved)
        self._guard = Guard(device)
        self._guard.start_epoch(self.state.batches, self.state.first_loss)
        if task.teacher:
            task.teacher.tap(objective.teacher_tapped)
        self._update = Update(task, config, self.state, self._guard)
        self._batches: tuple[Tensor, ...] = ()  # of the epoch in progress
        self._order_sha256 = ""

    def close(self) -> None:
        """Take the taps off the student."""
        self._update.close()

    def __enter__(self) -> Training:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def position(self) -> tuple[int, int]:
        """The epoch in progress, from 1, and the steps done in it."""
        return self.state.epoch, self.state.batches

    @property
    def steps(self) -> int:
        """The steps done since the training began."""
        per_epoch = -(-len(self.task.images) // self.config.optimizer.batch_size)
        return (self.state.epoch - 1) * per_epoch + self.state.batches

    @property
    def is_done(self) -> bool:
        """Whether all epochs are over."""
        return self.state.epoch > self.config.optimizer.epochs

    def step(self) -> Epoch | None:
        """Learn from one batch; return the epoch's record where it is the last one of an epoch.

        Raises
        ------
        TrainingDiverged
            If maps, logits, loss, gradients or the last weights are not finite, or the loss
            explodes; that of the last weights, in evaluation mode, counts too.
        """
        started = time.perf_counter()
        if not self._batches:
            self._start_epoch()
        batch = self._batches[self.state.batches]
        self._update(self._read_batch(batch, self.state.streams.augment))
        self.state.batches += 1
        if self.state.batches % CHECK_EVERY == 0:
            self.check()
        record = None
        if self.state.batches == len(self._batches):
            record = self._end_epoch(started)
        else:
            self.state.seconds += time.perf_counter() - started
        return record

    def save(self) -> None:
        """Write a checkpoint, one for all processes; a state that has diverged is refused."""
        self.check()
        self.state.first_loss = self._guard.first_loss
        if distributed.process_count() > 1:
            self.state.sums = {n: distributed.on_main(v) for n, v in self.state.sums.items()}
        if self.checkpoints and distributed.is_main():
            self.checkpoints.save(self.state.to_tree())

    def check(self) -> None:
        """Wait for the steps so far, and stop if a watched value went wrong."""
        self._update.wait()
        self._guard.check(self.state.epoch)

    def _start_epoch(self) -> None:
        self.task.student.train()
        self._update.start_epoch()
        order = self.state.draw_order(len(self.task.images))
        self._order_sha256 = fingerprint(order)
        self._batches = torch.split(order.to(self._device), self.config.optimizer.batch_size)
        self._guard.start_epoch(self.state.batches, None)

    def _read_batch(self, batch: Tensor, augment: torch.Generator | None) -> Batch:
        """Return this process's inputs, labels if they are used, and what the teacher answers."""
        # These decide the inputs, as the images are the same: the order they come in, how many at
        # once, which batch of it, and the augmentation's numbers.
        drawn = None if augment is None else augment.get_state().numpy().tobytes()
        batch_key = self._order_sha256, len(self._batches[0]), self.state.batches, drawn
        labels = self.task.labels
        if labels is not None:
            labels = labels[distributed.part_of(batch)]

        def prepare() -> Tensor:
            # Several processes augment the whole batch alike, and each keeps its part.
            inputs = distributed.part_of(self.task.prepare(self.task.images[batch], augment))
            return inputs.contiguous(memory_format=self._layout)

        if self.task.teacher is None:
            return Batch(len(batch), prepare(), labels)
        inputs, (logits, maps) = self.task.teacher(batch_key, prepare, augment)
        needed = tuple(maps[tap] for tap in self.config.objective.teacher_tapped)
        return Batch(len(batch), inputs, labels, logits, needed)

    def _end_epoch(self, started: float) -> Epoch:
        self.check()
        state, optimizer = self.state, self.config.optimizer
        if state.epoch == optimizer.epochs:
            state.student.eval()
            self._update.look_at_last_step(self._read_batch(self._batches[-1], None))
        means = state.means(len(self.task.images))
        record = Epoch(
            epoch=state.epoch,
            epochs=optimizer.epochs,
            lr=float(state.schedule.get_last_lr()[0]),
            loss=means.pop("loss"),
            gradient_norm=means.pop("gradient"),
            terms=means,
            order_sha256=self._order_sha256,
            validation_accuracy=self.task.validate(state.student) if self.task.validate else None,
            seconds=state.seconds + time.perf_counter() - started,
        )
        state.schedule.step()
        state.finish_epoch(record)
        self._batches = ()
        return record


def fit(
    training: Training,
    *,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_step: Callable[[Training], None] | None = None,
    stop: Stop = lambda: None,
) -> TrainingState:
    """Carry a training to its end.

    Parameters
    ----------
    training : Training
        New, or resumed from a checkpoint.
    on_epoch, on_step : callable, optional
        Called with each epoch's record, and with the training after each step.
    stop : callable, optional
        Called after each step; what it returns, a signal's name say, ends the training there.

    Returns
    -------
    TrainingState
        With the epochs' records in ``history`` and the best weights in ``best``.

    Raises
    ------
    TrainingDiverged
        As `Training.step` does.
    Interrupted
        If ``stop`` named a reason; the state is saved.
    OSError
        If a checkpoint cannot be written; the one before is kept.
    """
    while not training.is_done:
        advance(training, on_epoch=on_epoch, on_step=on_step, stop=stop)
    return training.state


def advance(
    training: Training,
    *,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_step: Callable[[Training], None] | None = None,
    stop: Stop = lambda: None,
) -> None:
    """Take one step of a training, and do what comes after it; see `fit`."""
    epoch = training.step()
    if on_step:
        on_step(training)
    if epoch and on_epoch:
        on_epoch(epoch)
    reason = distributed.agree(stop(), training.steps, training.task.images.device)
    # Saved after on_epoch: what is reported but not saved is done again, and reported again.
    due = training.checkpoints is not None and training.checkpoints.due(*training.position)
    if due or reason or training.is_done:
        training.save()
    if reason and not training.is_done:
        raise Interrupted("{} came in epoch {}, step {}".format(reason, *training.position))


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
