"""Records of results: small JSON files, the only way for a number into a figure or table.

Each says what made it (command, seeds, revision, versions), from what (hashes of its inputs), and
seals all of it with its own SHA-256, so that a number altered by hand is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

SCHEMA = 1
FOLDER = Path(__file__).with_name("results")

# What the result of each kind holds at least.
KINDS: Mapping[str, frozenset[str]] = {
    "run": frozenset({"config", "network", "method", "bits", "data", "epochs", "test_accuracy"}),
    "claims": frozenset({"claims", "false_alarm", "failing"}),
    "probe-errors": frozenset({"about", "stages", "delta", "replications"}),
    "gradient-noise": frozenset({"about", "by_probes", "by_pixels", "replications"}),
    "estimators": frozenset({"about", "k", "replications", "errors"}),
    "orders": frozenset({"about", "stages", "replications"}),
    "cost": frozenset({"k", "shapes"}),
    "complexity": frozenset({"rounds", "growths"}),
    "fixed-probes": frozenset({"curves", "seeds", "pixels", "channels"}),
    "floating-point": frozenset({"rows", "channels", "pixels"}),
    "quantizers": frozenset({"about", "layers", "histograms"}),
    "affinities": frozenset({"about", "taps"}),
    "ranks": frozenset({"about", "epochs", "taps", "samples"}),
    "speed": frozenset({"limits", "losses", "sweep", "memory", "step", "exponents", "threads"}),
}
_PACKAGES = ("faqd", "numpy", "scipy", "torch")


@dataclass(frozen=True)
class Record:
    """One result and where it comes from.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    command : str
        What recomputes it.
    seeds : list of int
        Of all its draws.
    revision : str or None
        Commit of the code, with "-dirty" if the tree differed from it; None outside a checkout.
    versions : dict
        Of Python and the packages.
    inputs : dict
        SHA-256 of the files it was computed from, by name.
    result : dict
        The numbers.
    sha256 : str
        Of all of the above.
    """

    kind: str
    command: str
    seeds: list[int]
    revision: str | None
    versions: dict[str, str]
    inputs: dict[str, str]
    result: dict[str, Any]
    sha256: str


def save(
    path: Path,
    kind: str,
    result: Mapping[str, Any],
    *,
    command: str,
    seeds: Sequence[int],
    inputs: Mapping[str, str] | None = None,
    origin: tuple[str | None, Mapping[str, str]] | None = None,
) -> Record:
    """Seal a result and write it; one that `load` would refuse is refused here (ValueError).

    ``origin`` is the revision and the versions that computed it, if not those of this process.
    """
    commit, packages = origin or (revision(), versions())
    content = {
        "schema": SCHEMA,
        "kind": kind,
        "command": command,
        "seeds": list(seeds),
        "revision": commit,
        "versions": dict(packages),
        "inputs": dict(inputs or {}),
        "result": dict(result),
    }
    _check(content, str(path))
    sealed = {**content, "sha256": _digest(content)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_written(sealed), encoding="utf-8")
    return load(path)


def load(path: Path) -> Record:
    """Read a record; refuse what does not fit, by name and reason (ValueError)."""
    text = path.read_text("utf-8")
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} is no JSON ({error}); a record is accepted: recompute it."
        ) from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no object; a record is accepted: recompute it.")
    seal = content.pop("sha256", None)
    _check(content, str(path))
    if seal != _digest(content):
        raise ValueError(
            f"{path} has another SHA-256 than the one it was sealed with; an unaltered record is "
            f"accepted: recompute it by `{content['command']}`."
        )
    del content["schema"]
    return Record(**content, sha256=seal)


def load_all(folder: Path = FOLDER) -> dict[str, Record]:
    """Read every record below a folder, by its path there without ``.json``."""
    return {
        path.relative_to(folder).with_suffix("").as_posix(): load(path)
        for path in sorted(folder.rglob("*.json"))
    }


def file_sha256(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def revision() -> str | None:
    """Commit of this code, with "-dirty" if files differ from it; None outside a checkout."""
    question = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(
            question, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def versions() -> dict[str, str]:
    """Versions of Python and the packages that decide a result."""
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}


def _check(content: Mapping[str, Any], name: str) -> None:
    """Refuse what is no record: schema, keys, kind, the kind's keys, numbers that are none."""
    if content.get("schema") != SCHEMA:
        raise ValueError(
            f"{name} has schema {content.get('schema')!r}; {SCHEMA} is accepted: recompute it with "
            f"this version of faqd."
        )
    expected = {"schema", *(key for key in Record.__annotations__ if key != "sha256")}
    if set(content) != expected:
        differing = ", ".join(sorted(expected ^ set(content)))
        raise ValueError(
            f"{name} lacks or adds {differing}; the keys of a record are accepted: recompute it."
        )
    kind, result = content["kind"], content["result"]
    if kind not in KINDS:
        raise ValueError(f"{name} has kind {kind!r}; accepted are {', '.join(sorted(KINDS))}.")
    missing = KINDS[kind] - set(result)
    if missing:
        raise ValueError(
            f"{name} of kind {kind!r} lacks {', '.join(sorted(missing))} in its result; recompute "
            f"it by `{content['command']}`."
        )
    for place, number in _floats(result, "result"):
        if not math.isfinite(number):
            raise ValueError(
                f"{name} holds {number} at {place}; finite numbers are accepted, and null for what "
                f"is not known: recompute it by `{content['command']}`."
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


def _written(content: Mapping[str, Any]) -> str:
    """JSON with a line for each entry, those of the result too: small, and readable as a diff."""
    lines = []
    for key, value in content.items():
        if key == "result":
            inner = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
            lines.append(f' "result": {{\n{inner}\n }}')
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"
