"""Runs side by side: the settings in which they differ, and what came out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.records.cells import differing
from analysis.records.identity import flatten, present_settings
from analysis.records.store import Records
from analysis.rendering.product import Product
from analysis.rendering.tables import Row

_RESULTS = ("validation_accuracy", "test_accuracy", "seconds")
_DIGITS = 10  # of hashes
_SOURCES = ("teacher", "init")


def rows(records: Records) -> list[Row]:
    """Give one row for each setting that differs and each result, one column for each run."""
    runs = {name.removeprefix("runs/"): record.result for name, record in records.items()}
    settings = {name: _settings(run) for name, run in runs.items()}
    keys = sorted({key for s in settings.values() for key in differing(s, [*settings.values()])})
    answer: list[Row] = [
        {"": key, **{name: _text(s.get(key)) for name, s in settings.items()}} for key in keys
    ]
    for key in _RESULTS:
        answer.append({"": key.replace("_", " "), **{name: run[key] for name, run in runs.items()}})
    return answer


def _settings(run: Mapping[str, Any]) -> dict[str, Any]:
    sources = {name: run[name]["weights_sha256"][:_DIGITS] for name in _SOURCES if run[name]}
    return flatten(present_settings(run["config"])) | sources


def _text(value: Any) -> str:
    return "none" if value is None else str(value)


COMPARISON = Product(
    name="comparison",
    needs="runs/*",
    text="The settings in which the runs differ, and what came out; networks by the hashes of "
    "their weights.",
    rows=rows,
)
