"""Settings of earlier versions, which had no sections within sections, as they are now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from faqd_train.config.files import check_config
from faqd_train.config.quantization import FLOAT_BITS
from faqd_train.config.schema import Config

Table = dict[str, Any]


def recorded_config(settings: Mapping[str, Any]) -> Config:
    """Return the configuration that a record or a checkpoint of any version holds."""
    return check_config(migrate_settings(settings))


def migrate_settings(old: Mapping[str, Any]) -> Table:
    """Return the settings of a run in the present schema.

    Parameters
    ----------
    old : mapping
        The ``config`` of a record or a checkpoint, in JSON's types, complete or not. Settings of
        the present schema are returned as they are.

    Returns
    -------
    dict
        For `faqd_train.config.files.check_config`. What earlier versions did not have gets the
        value that they computed with, and what a left-out term was set to is dropped.

    Examples
    --------
    >>> migrate_settings({"objective": {"kd": 1.0, "fa": 0.0, "label": 0.3}})["objective"]["label"]
    {'weight': 0.3}
    """
    change = {"model": _model, "quantization": _quantization, "objective": _objective, "run": _run}
    return {
        section: change[section](dict(settings)) if section in change else settings
        for section, settings in old.items()
    }


def _model(old: Table) -> Table:
    if "kind" in old:
        return old
    factory, options = old.pop("factory", None), old.pop("options", {})
    if factory is None:
        return {"kind": "preact-resnet", **old}
    return {"kind": "factory", "factory": factory, "options": options, "init": old.get("init")}


def _quantization(old: Table) -> Table:
    if "weights" in old or "activations" in old:
        return old
    names = ("projection", "per_channel", "blend", "first", "last", "keep_float")
    weights: Table = {
        "projection": "exact",
        **_taken(old, names),
        "bits": old.get("weight_bits", 4),
    }
    if weights["projection"] == "released":
        weights.pop("per_channel", None)
    activations: Table = {"bits": old.get("activation_bits", 4)}
    activations["rule"] = old.get("activation_rule", "learned")
    return {
        "weights": None if weights["bits"] == FLOAT_BITS else weights,
        "activations": None if activations["bits"] == FLOAT_BITS else activations,
        **_taken(old, ["calibration_images"]),
    }


def _objective(old: Table) -> Table:
    weights = [old.get("kd", 1.0), old.get("fa", 0.1), old.get("label", 0.3)]
    if not all(isinstance(weight, int | float) for weight in weights):
        return old
    kd: Table = {"loss": old.get("kd_loss", "mse"), "weight": weights[0]}
    if kd["loss"] == "kl":
        kd["temperature"] = old.get("temperature") or 4.0
    kept = _taken(old, ["order", "taps", "teacher_taps"])
    fa: Table = {"weight": weights[1], **kept, "probes": None}
    if old.get("fa_method") == "ffa":
        fa["probes"] = {"k": 15} | _taken(old, ["k", "law", "gradient"])
    new: Table = {"kd": kd, "fa": fa, "label": {"weight": weights[2]}}
    return {name: term if term["weight"] > 0 else None for name, term in new.items()}


def _run(old: Table) -> Table:
    if "teacher" in old:
        return old
    names = ("folded", "precision", "tolerance")
    teacher = {key: old.pop(f"teacher_{key}") for key in names if f"teacher_{key}" in old}
    if not teacher.get("folded"):
        teacher.pop("tolerance", None)
    return old | ({"teacher": teacher} if teacher else {})


def _taken(table: Table, keys: Iterable[str]) -> Table:
    return {key: table[key] for key in keys if key in table}
