"""Records of results: small JSON files, the only way for a number into a figure or table.

Each says what made it (command, seeds, k, replications, revision, versions) and from what (hashes
of its inputs), and is sealed with its own SHA-256, so that a number altered by hand is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.records.provenance import Origin, current_origin

SCHEMA = 2
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Record:
    """One result and where it comes from.

    Attributes
    ----------
    kind : str
        "run", "claims" or the name of a study.
    command : str
        Command that computes the result again.
    seeds : sequence of int
        Seeds of all its draws.
    k : sequence of int
        Numbers of probes that were used; empty where there are no probes.
    replications : int or None
        Draws of each replicated number; None where nothing is replicated.
    version : str or None
        Version of faqd.
    revision : str or None
        Commit of the package's own checkout; None where the package lay in none.
    dirty : bool or None
        Whether code of that checkout differed from the commit; None where it is not known.
    versions : mapping
        Versions of Python and of the other packages.
    inputs : mapping
        SHA-256 of the data, features and weights that it was computed from, by name.
    result : mapping
        The numbers.
    sha256 : str
        Of all of the above.
    """

    kind: str
    command: str
    seeds: Sequence[int]
    k: Sequence[int]
    replications: int | None
    version: str | None
    revision: str | None
    dirty: bool | None
    versions: Mapping[str, str]
    inputs: Mapping[str, str]
    result: Mapping[str, Any]
    sha256: str


Records = Mapping[str, Record]


@dataclass(frozen=True)
class Made:
    """How a result was made: see `Record`."""

    command: str
    seeds: Sequence[int]
    k: Sequence[int] = ()
    replications: int | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    origin: Origin = field(default_factory=current_origin)


def seal(kind: str, result: Mapping[str, Any], made: Made) -> Record:
    """Make a record; a result with NaN or infinity is refused by its place (ValueError)."""
    _check_numbers(result, f"the result of kind {kind!r}")
    content = {
        "kind": kind,
        "command": made.command,
        "seeds": list(made.seeds),
        "k": list(made.k),
        "replications": made.replications,
        "version": made.origin.version,
        "revision": made.origin.revision,
        "dirty": made.origin.dirty,
        "versions": dict(made.origin.versions),
        "inputs": dict(made.inputs),
        "result": json.loads(json.dumps(result)),  # tuples become lists, as they will be read
    }
    return Record(**content, sha256=_digest(content))


def write(path: Path, record: Record, *, replace: bool = False) -> Path:
    """Write a record; a file of other content is kept unless it may be replaced (ValueError)."""
    if path.exists() and not replace and path.read_text("utf-8") != _text(record):
        raise ValueError(
            f"{path} exists with other content; a new name or equal content is accepted: pass "
            f"--replace to overwrite it."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_text(record), encoding="utf-8")
    return path


def load(path: Path) -> Record:
    """Read a record; what does not fit is refused by its name and the reason (ValueError)."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} is not valid JSON ({error}); a record is accepted: recompute it."
        ) from None
    if not isinstance(content, dict) or content.pop("schema", None) != SCHEMA:
        raise ValueError(
            f"{path} is not a record of schema {SCHEMA}; only such records are accepted: recompute "
            f"it with this version of faqd."
        )
    if set(content) != set(Record.__annotations__):
        differing = ", ".join(sorted(set(Record.__annotations__) ^ set(content)))
        raise ValueError(
            f"{path} lacks or adds {differing}; the keys of a record are accepted: recompute it."
        )
    record = Record(**content)
    _check_numbers(record.result, str(path))
    sha256 = content.pop("sha256")
    if sha256 != _digest(content):
        raise ValueError(
            f"{path} does not match the SHA-256 it was sealed with; an unaltered record is "
            f"accepted: recompute it by `{record.command}`."
        )
    return record


def load_all(
    folder: Path = FOLDER, kinds: Mapping[str, Collection[str]] | None = None
) -> dict[str, Record]:
    """Read every record below a folder, by its path there without ``.json``.

    ``kinds`` gives the keys that the result of each kind holds at least; a record of another kind
    or without one of them is refused (ValueError).
    """
    paths = {path.relative_to(folder).with_suffix("").as_posix(): path for path in _files(folder)}
    records = {name: load(path) for name, path in paths.items()}
    for name, record in records.items():
        if kinds is None:
            continue
        if record.kind not in kinds:
            raise ValueError(
                f"{paths[name]} has kind {record.kind!r}; accepted are {', '.join(sorted(kinds))}."
            )
        check_keys(record.result, record.kind, kinds[record.kind])
    return records


def check_keys(result: Mapping[str, Any], kind: str, keys: Collection[str]) -> None:
    """Refuse a result that lacks a key of its kind (ValueError)."""
    if missing := set(keys) - set(result):
        raise ValueError(
            f"a result of kind {kind!r} lacks {', '.join(sorted(missing))}; recompute its record "
            f"with this version of faqd."
        )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.json"))


def _check_numbers(result: Mapping[str, Any], name: str) -> None:
    for place, number in _floats(result, "result"):
        if not math.isfinite(number):
            raise ValueError(
                f"{name} holds {number} at {place}; finite numbers are accepted, and null for what "
                f"is not known: recompute it."
            )


def _floats(value: Any, place: str) -> Iterator[tuple[str, float]]:
    """Each float in nested lists and dicts, with its place."""
    if isinstance(value, float):
        yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _floats(item, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _floats(item, f"{place}[{index}]")


def _digest(content: Mapping[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _text(record: Record) -> str:
    """JSON with one line for each entry, those of the result too: small, and readable as a diff."""
    lines = [f' "schema": {SCHEMA}']
    for key in Record.__annotations__:
        value = getattr(record, key)
        text = json.dumps(value)
        if key == "result":
            inner = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
            text = f"{{\n{inner}\n }}"
        lines.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"
