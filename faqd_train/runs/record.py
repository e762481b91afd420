"""What a run leaves behind: run.json and weights, each written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from faqd_train.files import write_atomically

SCHEMA = 1

Record = dict[str, Any]


def write_record(path: Path, record: Record) -> None:
    """Write run.json; NaN and infinity are refused (ValueError), as JSON has none."""
    text = json.dumps(record, indent=1, allow_nan=False)
    write_atomically(path, text.encode() + b"\n")


def read_record(path: Path, keys: Sequence[str] = ("config", "weights_sha256")) -> Record:
    """Read run.json; a file that is not one or lacks a key is refused in one sentence."""
    try:
        record = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); run the training again.") from None
    schema = record.get("schema") if isinstance(record, dict) else None
    if schema != SCHEMA:
        raise ValueError(
            f"{path} has schema {schema!r}; {SCHEMA} is accepted: read it with the version of "
            f"faqd that wrote it."
        )
    missing = set(keys) - set(record)
    if missing:
        raise ValueError(f"{path} lacks {', '.join(sorted(missing))}; run the training again.")
    return dict(record)


def write_metrics(path: Path, epoch: Record) -> None:
    """Put one epoch's line into metrics.jsonl, in place of any of that epoch or a later one.

    The file is written whole, so that a run that was killed and resumed leaves no line torn,
    twice or out of order.
    """
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    earlier = [line for line in lines if json.loads(line)["epoch"] < epoch["epoch"]]
    text = "\n".join([*earlier, json.dumps(epoch, allow_nan=False)])
    write_atomically(path, text.encode() + b"\n")


def save_weights(path: Path, weights: Mapping[str, Tensor]) -> str:
    """Write parameters and buffers by name as safetensors; return the file's SHA-256."""
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
    write_atomically(path, content)
    return hashlib.sha256(content).hexdigest()


def load_weights(path: Path, network: nn.Module, sha256: str) -> None:
    """Read weights into a network; a file that is not the recorded one is refused (ValueError)."""
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(
            f"{path} is not the file that run.json recorded (its SHA-256 differs); restore it or "
            f"run the training again."
        )
    try:
        network.load_state_dict(load(content))
    except (RuntimeError, SafetensorError):
        raise ValueError(
            f"{path} does not fit the network that run.json describes; use the version of faqd "
            f"that wrote it."
        ) from None


def environment(device: torch.device, processes: int) -> dict[str, Any]:
    """Return the versions and the machine that a run's numbers depend on."""
    revision, dirty = checkout(Path(__file__))
    return {
        "faqd": _version("faqd"),
        "torch": torch.__version__,
        "numpy": _version("numpy"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        **place(device, processes),
        "git_revision": revision,
        "git_dirty": dirty,
    }


def place(device: torch.device, processes: int) -> dict[str, Any]:
    """Return what a run's last bits depend on, beside the machine and the versions."""
    return {
        "threads": torch.get_num_threads(),
        "device": (torch.cuda.get_device_name(device) if device.type == "cuda" else device.type),
        "processes": processes,
    }


def checkout(file: Path) -> tuple[str | None, bool | None]:
    """Return the commit of the checkout that a file belongs to, and whether its code differs.

    Parameters
    ----------
    file : Path
        A source file of the package, which may be installed below another project's checkout:
        only one that Git keeps the file in counts.

    Returns
    -------
    revision : str or None
        The commit's hash; None where the file is in no checkout.
    dirty : bool or None
        Whether a Python or TOML file that Git keeps there differs from the commit.
    """

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=file.parent, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)
        code = (":(top)*.py", ":(top)*.toml")
        changes = git("status", "--porcelain", "--untracked-files=no", "--", *code)
        return git("rev-parse", "HEAD"), bool(changes)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None, None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
