"""Checkpoints: one file each, used only if it is whole, and holding nothing that could run.

A file is a SHA-256 (32 bytes) and the safetensors file that it is of. The nested state of a
training is written there as its tensors and one JSON text, which names them by number.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from faqd_train.files import write_atomically

Tree = dict[str, Any]  # of JSON values and tensors

LAST, PREVIOUS = "last.checkpoint", "previous.checkpoint"

_DIGEST_BYTES = hashlib.sha256().digest_size
_TENSOR, _TEXT = "__tensor__", "json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run, the last and the one before, in its folder.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Checkpoints(Path(folder), {"seed": 0}).save({"weights": torch.ones(2), "epoch": 3})
    ...     Checkpoints(Path(folder), {"seed": 0}, resume=True).load()
    {'weights': tensor([1., 1.]), 'epoch': 3}
    """

    folder: Path
    identity: Tree  # what decides the run's numbers, as JSON has it
    resume: bool = False
    every_epochs: int = 1
    every_steps: int = 0  # beside those at the ends of epochs; 0: none
    place: Tree = field(default_factory=dict)  # what decides its last bits: see `records.place`
    upgrade: Callable[[Tree], Tree] = dict  # of an identity that lacks later settings

    def due(self, epoch: int, step: int) -> bool:
        """Whether the state is to be saved so many steps into an epoch, from 1."""
        if step == 0:
            return (epoch - 1) % self.every_epochs == 0
        return self.every_steps > 0 and step % self.every_steps == 0

    def save(self, state: Tree) -> None:
        """Put a new checkpoint in place; until it is, the one before stays (OSError).

        Raises
        ------
        OSError
            If it cannot be written, say on a full disk. What was there is there still.
        """
        content = pack({"identity": self.identity, "place": self.place, "state": state})
        try:
            write_atomically(self.folder / LAST, content, keep=self.folder / PREVIOUS)
        except OSError as error:
            raise OSError(
                f"a checkpoint of {len(content):,} bytes was not written in {self.folder} "
                f"({error.strerror or error}); the one before is kept: make room and resume."
            ) from error

    def load(self) -> Tree | None:
        """Return the state to resume from, or None to start at the beginning.

        If the run moves to another place, a warning says so.

        Raises
        ------
        ValueError
            If no checkpoint is whole, or it is of another run: what differs is named.
        """
        if not self.resume:
            return None
        checkpoint = read_newest(self.folder)
        if checkpoint is None:
            return None
        identity = self.upgrade(checkpoint["identity"])
        for key, saved, given in _differences(identity, self.identity):
            raise ValueError(
                f"{key} is {given!r} here and {saved!r} in the checkpoint in {self.folder}; a run "
                f"is resumed as it was started: set it back, or start another run elsewhere."
            )
        # A checkpoint without a place is compared by its identity alone.
        moved = [
            f"{key} {given} (was {saved})"
            for key, saved, given in _differences(checkpoint.get("place", self.place), self.place)
        ]
        if moved:
            _log.warning(
                "the run in %s goes on with %s: to other bits than without a break.",
                self.folder,
                ", ".join(moved),
            )
        return dict(checkpoint["state"])


def has_checkpoint(folder: Path) -> bool:
    """Whether a folder holds an unfinished run."""
    return any((folder / name).exists() for name in (LAST, PREVIOUS))


def remove_checkpoints(folder: Path) -> None:
    """Delete the checkpoints of a run that is finished or to be replaced."""
    for name in (LAST, PREVIOUS):
        (folder / name).unlink(missing_ok=True)


def read_newest(folder: Path) -> Tree | None:
    """Return the last checkpoint, or where it is damaged the one before, saying so.

    Raises
    ------
    ValueError
        If there are checkpoints and all are damaged.
    """
    damaged = []
    for name in (LAST, PREVIOUS):
        # Between two renames of a write that was cut short there is only the previous one.
        if not (folder / name).exists():
            continue
        try:
            checkpoint = unpack((folder / name).read_bytes())
        except ValueError as error:
            damaged.append(f"{folder / name} {error}")
            continue
        for complaint in damaged:
            _log.warning("%s; %s, the one before, is used.", complaint, name)
        return checkpoint
    if damaged:
        raise ValueError(f"{damaged[0]}, and no other is whole: start the run anew.")
    return None


def pack(tree: Tree) -> bytes:
    """Return a checkpoint file's content; NaN outside tensors is refused (ValueError)."""
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_extract(tree, tensors), allow_nan=False)
    tensors[_TEXT] = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    body = save(tensors)
    return hashlib.sha256(body).digest() + body


def unpack(content: bytes) -> Tree:
    """Return what was packed, or refuse content of which any byte was changed (ValueError)."""
    digest, body = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        raise ValueError("is torn, altered or not a checkpoint (its SHA-256 differs)")
    try:
        tensors = load(body)
        text = tensors.pop(_TEXT).numpy().tobytes()
        return dict(json.loads(text, object_hook=lambda node: _insert(node, tensors)))
    except (SafetensorError, KeyError, ValueError):
        raise ValueError("is not a checkpoint of this package") from None


def _extract(node: Any, tensors: dict[str, Tensor]) -> Any:
    """Move the tensors of a tree to a dictionary; their numbers stay in their places."""
    if isinstance(node, Tensor):
        name = str(len(tensors))
        # A copy: safetensors takes no two tensors that share memory.
        tensors[name] = node.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {_TENSOR: name}
    if isinstance(node, dict):
        return {key: _extract(value, tensors) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_extract(value, tensors) for value in node]
    return node


def _insert(node: Tree, tensors: dict[str, Tensor]) -> Any:
    return tensors[node[_TENSOR]] if _TENSOR in node else node


def _differences(saved: Any, given: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the path and both values wherever two JSON trees differ."""
    if isinstance(saved, dict) and isinstance(given, dict):
        for name in saved | given:
            inner = f"{key}.{name}" if key else name
            yield from _differences(saved.get(name), given.get(name), inner)
    elif saved != given:
        yield key, saved, given
