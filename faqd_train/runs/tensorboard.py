"""Curves for TensorBoard, where it is wanted (``run.tensorboard``) and installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from faqd_train.training.state import Epoch


@contextmanager
def tensorboard_log(folder: Path, *, wanted: bool) -> Iterator[Callable[[Epoch], None]]:
    """Yield a function that draws the numbers of an epoch, or does nothing if it is not wanted.

    Raises
    ------
    ValueError
        If it is wanted and TensorBoard is not installed.
    """
    if not wanted:
        yield lambda _: None
        return
    try:
        writer_class = import_module("torch.utils.tensorboard").SummaryWriter
    except ModuleNotFoundError:
        raise ValueError(
            "run.tensorboard is true, but TensorBoard is not installed; pip install "
            "'faqd[tensorboard]', or set run.tensorboard=false."
        ) from None
    writers: list[Any] = []

    def draw(epoch: Epoch) -> None:
        if not writers:  # what a run that was killed drew of this epoch on is dropped
            writers.append(writer_class(str(folder), purge_step=epoch.epoch))
        for name, value in scalars(epoch).items():
            writers[0].add_scalar(name, value, epoch.epoch)
        writers[0].flush()

    try:
        yield draw
    finally:
        for writer in writers:
            writer.close()


def scalars(epoch: Epoch) -> dict[str, float]:
    """Return what is drawn of an epoch, by name."""
    numbers = {"loss": epoch.loss, "lr": epoch.lr, "gradient_norm": epoch.gradient_norm}
    numbers |= {f"terms/{name}": value for name, value in epoch.terms.items()}
    if epoch.validation_accuracy is not None:
        numbers["validation_accuracy"] = epoch.validation_accuracy
    return numbers
