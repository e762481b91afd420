"""What was run: all settings but the seed, a hash of them, and words for file names and tables."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from faqd_train.config.files import check_config
from faqd_train.config.networks import FactoryConfig, ModelConfig
from faqd_train.config.objective import ObjectiveConfig
from faqd_train.config.quantization import FLOAT_BITS
from faqd_train.config.schema import Config

# Where files lie decides no number; of a start, the weights are named instead.
_LEFT_OUT = ("model.init", "run.seed")
_HASH_DIGITS = 10
_ABSENT = object()
_KINDS = {"preact-resnet": "PreActResNet", "resnet": "ResNet", "cifar_resnet": "ResNet"}

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


def present_settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return recorded settings in the schema of this version, by which runs are compared."""
    return check_config(config).settings()


def settings_of(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides a run but for its seed, by dotted keys.

    Settings at their default are left out, so that a setting that a later version adds does not
    change what is known of a run; runs that differ in a setting differ here, too.

    Parameters
    ----------
    run : mapping
        What run.json holds, or a record's result: "config", and "teacher" and "init" where there
        are such networks, which are named by the hashes of their weights.
    """
    defaults = flatten(Config().settings())
    leaves = flatten(present_settings(run["config"]))
    settings = {
        key: value
        for key, value in leaves.items()
        if key not in _LEFT_OUT and defaults.get(key, _ABSENT) != value
    }
    sources = {source: run[source] for source in ("teacher", "init") if run.get(source)}
    return settings | {name: source["weights_sha256"] for name, source in sources.items()}


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
    config = check_config(run["config"])
    weights, activations = config.quantization.weight_bits, config.quantization.activation_bits
    bits = [f"{b}{kind}" for b, kind in ((weights, "W"), (activations, "A")) if b < FLOAT_BITS]
    return {
        "data": config.data.name,
        "network": _network(config.model),
        "bits": "".join(bits) or "float",
        "method": _method(config.objective),
        "labels": config.objective.label is not None,
        "start": "fine-tuned" if run.get("init") else "scratch",
    }


def file_name(run: Mapping[str, Any]) -> str:
    """Name a run's record by what was run, the hash of all settings, and the seed."""
    words = describe_run(run)
    labels = "labelled" if words["labels"] else "label-free"
    parts = [
        words["data"],
        *(_plain(words[key]) for key in ("network", "bits", "method")),
        *([labels] if words["method"] != "supervised" else []),
        words["start"],
        f"{len(run['epochs'])}ep",
        settings_hash(settings_of(run)),
        f"seed{run['config']['run']['seed']}",
    ]
    return "-".join(parts) + ".json"


def _plain(text: str) -> str:
    return re.sub(r"\W|k = ", "", text).lower()


def _network(model: ModelConfig) -> str:
    """Name a network by its kind and depth, or by its factory."""
    if not isinstance(model, FactoryConfig):
        return f"{_KINDS[model.kind]}-{model.depth}"
    kind, depth = model.factory.rpartition(":")[2], model.options.get("depth")
    return _KINDS.get(kind, kind) + ("" if depth is None else f"-{depth}")


def _method(objective: ObjectiveConfig) -> str:
    if objective.fa is None:
        return "supervised" if objective.kd is None else "KD"
    if objective.fa.probes is None:
        return "FA"
    one_sided = ", one-sided" * (objective.fa.probes.gradient == "one-sided")
    return f"FFA, k = {objective.fa.probes.k}{one_sided}"
