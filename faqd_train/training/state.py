"""All that moves while a network is trained, and its way into a checkpoint and back."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from faqd_train.training.checkpoints import Tree
from faqd_train.training.distributed import total
from faqd_train.training.seeds import Streams


@dataclass(frozen=True)
class Epoch:
    """What one pass over the images gave; means over its images."""

    epoch: int
    epochs: int
    lr: float
    loss: float
    terms: dict[str, float]  # unweighted: kd, fa, label
    gradient_norm: float
    order_sha256: str  # of the order in which the images came
    validation_accuracy: float | None
    seconds: float


@dataclass(frozen=True)
class Best:
    """The first epoch of the highest validation accuracy, and the weights after it."""

    epoch: int
    validation_accuracy: float
    weights: dict[str, Tensor]


@dataclass
class TrainingState:
    """The networks, the generators, and how far they have come."""

    student: nn.Module
    adapters: nn.ModuleList | None
    optimizer: torch.optim.Optimizer
    schedule: LRScheduler
    streams: Streams
    epoch: int = 1  # the one in progress, or next
    batches: int = 0  # done in it
    seconds: float = 0.0  # spent on it so far
    sums: dict[str, Tensor] = field(default_factory=dict)  # over the images done in it
    first_loss: float | None = None  # of the training's first step
    history: list[Epoch] = field(default_factory=list)
    best: Best | None = None

    def __post_init__(self) -> None:
        self._order_start = self.streams.order.get_state()

    def draw_order(self, count: int) -> Tensor:
        """Return the order of the epoch in progress: the same again after a resume."""
        self.streams.order.set_state(self._order_start)
        return torch.randperm(count, generator=self.streams.order)

    def add(self, values: dict[str, Tensor], count: int) -> None:
        """Add a batch's means over so many images, in place: a CUDA graph may hold this."""
        for name, value in values.items():
            if name not in self.sums:
                self.sums[name] = torch.zeros_like(value)
            self.sums[name] += count * value.detach()

    def means(self, count: int) -> dict[str, float]:
        """Return the epoch's means over so many images, those of all processes."""
        return {name: float(total(value)) / count for name, value in self.sums.items()}

    def finish_epoch(self, record: Epoch) -> None:
        """Keep the record, and the weights if they are the best so far."""
        accuracy = record.validation_accuracy
        if accuracy is not None and (self.best is None or accuracy > self.best.validation_accuracy):
            weights = {
                name: tensor.detach().cpu().clone()
                for name, tensor in self.student.state_dict().items()
            }
            self.best = Best(record.epoch, accuracy, weights)
        self.history.append(record)
        self.epoch, self.batches, self.seconds = self.epoch + 1, 0, 0.0
        for sums in self.sums.values():
            sums.zero_()
        self._order_start = self.streams.order.get_state()

    def to_tree(self) -> Tree:
        """Return the state for a checkpoint."""
        return {
            "student": self.student.state_dict(),
            "adapters": self.adapters.state_dict() if self.adapters else {},
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            # The order is drawn again from where its generator stood at the epoch's start.
            "generators": self.streams.states() | {"order": self._order_start},
            "epoch": self.epoch,
            "batches": self.batches,
            "seconds": self.seconds,
            "sums": self.sums,
            "first_loss": self.first_loss,
            "history": [asdict(epoch) for epoch in self.history],
            "best": vars(self.best) if self.best else None,
        }

    def restore(self, tree: Tree) -> None:
        """Go to the state that `to_tree` gave, on the devices that the networks are on."""
        self.student.load_state_dict(tree["student"])
        if self.adapters:
            self.adapters.load_state_dict(tree["adapters"])
        moments = tree["optimizer"]["state"]  # JSON has no keys but strings
        self.optimizer.load_state_dict(
            tree["optimizer"] | {"state": {int(index): m for index, m in moments.items()}}
        )
        for parameter, moments in self.optimizer.state.items():
            for name, moment in moments.items():  # a fused step wants them to lie as the weights do
                if moment.shape == parameter.shape:
                    moments[name] = torch.empty_like(parameter).copy_(moment)
        self.schedule.load_state_dict(tree["schedule"])
        states = tree["generators"]
        own = self.streams.probes.get_state()
        # Of another kind of device, the state has another size: the probes start anew.
        if states["probes"].shape != own.shape:
            states = states | {"probes": own}
        self.streams.set_states(states)
        self._order_start = states["order"]
        device = next(self.student.parameters()).device
        self.epoch, self.batches = tree["epoch"], tree["batches"]
        self.seconds = tree["seconds"]
        self.sums = {name: total.to(device) for name, total in tree["sums"].items()}
        self.first_loss = None if tree["first_loss"] is None else float(tree["first_loss"])
        self.history = [Epoch(**epoch) for epoch in tree["history"]]
        self.best = Best(**tree["best"]) if tree["best"] else None
