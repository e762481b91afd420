"""What was run: all settings but the seed, a hash of them, and words for file names and tables."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

# Where files lie decides no number; of a start, the weights are named instead.
_LEFT_OUT = ("data.dir", "data.cache", "model.init", "run.seed")
_HASH_DIGITS = 10

Settings = Mapping[str, Any]


def flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves of a nested table by their dotted keys.

    Examples
    --------
    >>> flatten({"run": {"seed": 0, "precision": "float32"}})
    {'run.seed': 0, 'run.precision': 'float32'}
    """
    leaves: dict[str, Any] = {}
    for key, value in table.items():
        nested = isinstance(value, Mapping) and value
        leaves |= flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return leaves


def settings_of(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides a run but for its seed, by dotted keys.

    Parameters
    ----------
    run : mapping
        What run.json holds, or a record's result: "config", and "teacher" and "init" where there
        are such networks, which are named by the hashes of their weights.
    """
    settings = {k: v for k, v in flatten(run["config"]).items() if k not in _LEFT_OUT}
    for source in ("teacher", "init"):
        if run.get(source):
            settings[source] = run[source]["weights_sha256"]
    return settings


def settings_hash(settings: Settings) -> str:
    """Return ten hexadecimal digits that differ where any setting does."""
    canonical = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:_HASH_DIGITS]


def describe_run(run: Mapping[str, Any]) -> dict[str, Any]:
    """Say in the words of the tables what was run.

    Returns
    -------
    dict
        "data", "network", "bits", "method", "labels" (whether a loss term reads training labels)
        and "start". FA and FFA come with KD.
    """
    config = run["config"]
    objective = config["objective"]
    return {
        "data": config["data"]["name"],
        "network": _network(config["model"]),
        "bits": _bits(config["quantization"]),
        "method": _method(objective),
        "labels": _weight(objective.get("label")) > 0,
        "start": "fine-tuned" if run.get("init") else "scratch",
    }


def file_name(run: Mapping[str, Any]) -> str:
    """Name a run's record by what was run, the hash of all settings, and the seed."""
    words = describe_run(run)
    labels = "labelled" if words["labels"] else "label-free"
    method = words["method"].replace("k = ", "")
    parts = [
        words["data"],
        *(re.sub(r"\W", "", words[key]) for key in ("network", "bits")),
        re.sub(r"\W", "", method),
        *([labels] if method != "supervised" else []),
        words["start"],
        f"{len(run['epochs'])}ep",
        settings_hash(settings_of(run)),
        f"seed{run['config']['run']['seed']}",
    ]
    return "-".join(re.sub(r"[^a-z0-9-]+", "", str(part).lower()) for part in parts) + ".json"


def _weight(term: Any) -> float:
    """Return the weight of a loss term, given as a number or as a table that holds it."""
    if isinstance(term, Mapping):
        return float(term.get("weight", 1))
    return float(term or 0)


def _network(model: Mapping[str, Any]) -> str:
    """Name a network by its kind and depth, or by its factory."""
    leaves = {key.rpartition(".")[2]: value for key, value in flatten(model).items()}
    if factory := leaves.get("factory"):
        return str(factory).rpartition(":")[2]
    return f"ResNet-{leaves['depth']}"


def _bits(quantization: Mapping[str, Any] | None) -> str:
    leaves = flatten(quantization or {})
    bits = {
        kind: leaves.get(f"{name[:-1]}_bits") or leaves.get(f"{name}.bits") or 32
        for kind, name in (("W", "weights"), ("A", "activations"))
    }
    return "".join(f"{b}{kind}" for kind, b in bits.items() if b < 32) or "float"


def _method(objective: Mapping[str, Any]) -> str:
    if _weight(objective.get("fa")) > 0:
        leaves = {key.rpartition(".")[2]: value for key, value in flatten(objective).items()}
        return f"FFA, k = {leaves['k']}" if leaves.get("k") else "FA"
    return "KD" if _weight(objective.get("kd")) > 0 else "supervised"
