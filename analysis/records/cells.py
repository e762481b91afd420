"""Runs that differ in nothing but the seed, as one cell of a table or one curve of a figure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.records.identity import Settings, settings_hash, settings_of
from analysis.records.store import Record

_ORDER = ("supervised", "KD", "FA", "FFA")


@dataclass(frozen=True)
class Cell:
    """Runs of equal settings but for the seed.

    Attributes
    ----------
    words : mapping
        "data", "network", "bits", "method", "labels", "start" and "epochs".
    other : str
        The further settings in which cells of the same words differ; "" where none do.
    settings : str
        Hash of all settings but the seed.
    teaches : bool
        Whether another run of the same records learnt from one of these.
    runs : mapping
        The runs by the names of their records.
    """

    words: Mapping[str, Any]
    other: str
    settings: str
    teaches: bool
    runs: Mapping[str, Record]

    @property
    def results(self) -> list[Mapping[str, Any]]:
        """What each run gave."""
        return [record.result for record in self.runs.values()]


def cells(runs: Mapping[str, Record]) -> list[Cell]:
    """Group runs by all settings but the seed, and order the groups.

    Parameters
    ----------
    runs : mapping
        Records of kind "run" by name.
    """
    own = {record.result["weights_sha256"]: record.result for record in runs.values()}
    groups: dict[str, dict[str, Record]] = defaultdict(dict)
    settings: dict[str, Settings] = {}
    for name, record in sorted(runs.items()):
        decided = _with_known_start(record.result, own)
        key = settings_hash(decided)
        settings[key] = decided
        groups[key][name] = record
    words = {key: _words(next(iter(group.values())).result) for key, group in groups.items()}
    teachers = {(r.result.get("teacher") or {}).get("weights_sha256") for r in runs.values()}
    found = []
    for key, group in groups.items():
        alike = [settings[other] for other in groups if words[other] == words[key]]
        found.append(
            Cell(
                words=words[key],
                other=_tell_apart(settings[key], alike),
                settings=key,
                teaches=any(r.result["weights_sha256"] in teachers for r in group.values()),
                runs=group,
            )
        )
    return sorted(found, key=_place)


def differing(settings: Settings, group: Sequence[Settings]) -> dict[str, Any]:
    """Return those of the settings that are not the same in all members of a group."""
    return {
        key: value
        for key, value in settings.items()
        if any(key not in member or member[key] != value for member in group)
    }


def _with_known_start(run: Mapping[str, Any], own: Mapping[str, Mapping[str, Any]]) -> Settings:
    """Name a start that is itself among the runs by its settings, so that seeds fall together.

    Of a student that starts from the float run of its own seed, the start's weights differ with the
    seed, too.
    """
    settings = settings_of(run)
    start = own.get(settings.get("init", ""))
    if start is None:
        return settings
    ahead = start["config"]["run"]["seed"] - run["config"]["run"]["seed"]
    return settings | {"init": f"{settings_hash(settings_of(start))}, seed {ahead:+d}"}


def _words(run: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("data", "network", "bits", "method", "labels", "start")
    return {key: run[key] for key in keys} | {"epochs": len(run["epochs"])}


def _tell_apart(settings: Settings, group: Sequence[Settings]) -> str:
    """Say shortly in what settings differ from the others of a group: with names if need be."""
    for named in (False, True):
        texts = [_text(differing(member, group), named) for member in group]
        if len(set(texts)) == len(texts):
            break
    return _text(differing(settings, group), named)


def _text(settings: Settings, named: bool) -> str:
    """Give the names of what is true, and values, of words without names unless these are asked."""
    words = set()
    for key, value in settings.items():
        name = key.rpartition(".")[2].replace("_", " ")
        if key in ("teacher", "init"):
            words.add(f"{name} {str(value)[:6]}")
        elif value is None or isinstance(value, bool):
            words.add(name if value else f"no {name}")
        elif isinstance(value, str) and not named:
            words.add(value)
        else:
            shown = "-".join(map(str, value)) if isinstance(value, list) else str(value)
            words.add(f"{name} {shown}")
    return ", ".join(sorted(words))


def _place(cell: Cell) -> tuple[Any, ...]:
    """Order by data, length and kind of training: float before bits, KD before FA and FFA."""
    words = cell.words
    method, *options = words["method"].split(", ")
    floating = words["bits"] == "float"
    return (
        (words["data"], words["epochs"], not floating, words["bits"]),
        words["start"] != "scratch",
        (words["labels"] and method != "supervised", _ORDER.index(method)),
        [(len(option), option) for option in options],
        (words["network"], cell.other, cell.settings),
    )
