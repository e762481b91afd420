"""Read a configuration: a packaged or own TOML file, then overrides from the command line."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from faqd_train.config.schema import Config
from faqd_train.config.tables import Table, check_table, merge, nearest

RESNET_LAYERS = ["layer1", "layer2", "layer3"]
_CONFIGS = files("faqd_train.config") / "presets"


def packaged_configs() -> list[str]:
    """Return the names of the configurations that the package ships, sorted."""
    return _toml_names(_CONFIGS)


def packaged_parts() -> dict[str, list[str]]:
    """Return the names of the parts that a configuration can take, by their kind.

    Examples
    --------
    >>> packaged_parts()["labels"]
    ['label-free', 'labelled']
    """
    folders = sorted((_CONFIGS / "parts").iterdir(), key=lambda folder: folder.name)
    return {folder.name: _toml_names(folder) for folder in folders if folder.is_dir()}


def describe(name: str) -> str:
    """Return the comment that opens a packaged configuration, or a part ``kind/name``.

    Examples
    --------
    >>> describe("digits-fa")
    '(b) A 4W4A student, labels withheld, distilled with exact FA.'
    """
    kind, _, part = name.rpartition("/")
    folder = _CONFIGS / "parts" / kind if kind else _CONFIGS
    return opening_comment((folder / f"{part}.toml").read_text("utf-8"))


def opening_comment(text: str) -> str:
    """Return the first line of a TOML text, without its sign, if it is a comment."""
    first, _, _ = text.partition("\n")
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def load_config(name: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read one configuration and check all of it.

    Parameters
    ----------
    name : str or Path
        One of `packaged_configs`, or a path that ends in ``.toml``. A file may name in ``base``
        what it changes: another configuration, a part ``kind/name``, or a list of them, of which
        the later change the earlier.
    overrides : strings ``section.key=value`` or ``kind=part``
        Applied in order; the value is TOML, and a bare word is taken as a string. ``none`` drops
        a section or an optional setting. A part is one of `packaged_parts`.

    Raises
    ------
    ValueError
        In one sentence: an unknown file or setting, with the nearest valid name; a value of
        another type or out of range; settings that contradict each other.

    Examples
    --------
    >>> config = load_config("digits-ffa", ["objective.fa.probes.k=5", "run.seed=3"])
    >>> config.objective.fa.probes.k, config.run.seed
    (5, 3)
    >>> load_config("digits", ["bits=1w4a", "labels=label-free"]).quantization.weight_bits
    1
    >>> load_config("digits-ffa", ["objective.fa=none"]).objective.weights
    {'kd': 1.0}
    """
    table = _put_config({}, str(name))
    for override in overrides:
        table = _put_override(table, override)
    return check_config(table)


def check_config(table: Mapping[str, Any]) -> Config:
    """Return the configuration of a nested table, or refuse it in one sentence (ValueError).

    Where FA names no taps and the network is a post-activation ResNet, they are its layers.
    """
    model, objective = table.get("model"), table.get("objective", {})
    if isinstance(model, dict) and model.get("kind") == "resnet" and isinstance(objective, dict):
        fa = objective.get("fa", {"weight": 0.1})
        if isinstance(fa, dict):
            fa = {"taps": RESNET_LAYERS} | fa
        table = {**table, "objective": objective | {"fa": fa}}
    return check_table(Config, table)


def read_toml(path: Path) -> Table:
    """Read a file, or refuse in one sentence what is not TOML (ValueError)."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid TOML: {error}.") from None


def _put_config(table: Table, name: str, users: tuple[str, ...] = ()) -> Table:
    """Put a file, and before it all that it builds on, into a table; users led to it."""
    if name in users:
        raise ValueError(
            f"{name} builds on itself ({' → '.join((*users, name))}); a base must end somewhere: "
            f"remove one of these."
        )
    with as_file(_locate(name)) as path:
        own = read_toml(path)
    bases = own.pop("base", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ValueError(
            f"base in {name} is {bases!r}; the name of a configuration or a list of names is "
            f"accepted."
        )
    for base in bases:
        table = _put_config(table, _beside(name, base), (*users, name))
    return merge(table, own, Config)


def _beside(name: str, base: str) -> str:
    """Look for a base that is a path in the folder of the file that names it."""
    return str(Path(name).parent / base) if base.endswith(".toml") else base


def _locate(name: str) -> Traversable:
    """Find a packaged configuration, a part ``kind/name`` or an own file."""
    if name.endswith(".toml"):
        return Path(name)
    configs = packaged_configs()
    parts = [f"{kind}/{part}" for kind, names in packaged_parts().items() for part in names]
    if name in configs:
        return _CONFIGS / f"{name}.toml"
    if name in parts:
        return _CONFIGS / "parts" / f"{name}.toml"
    known = parts if "/" in name else configs
    raise ValueError(
        f"config {name!r} is unknown{nearest(name, known)}; a path ending in .toml or one of "
        f"{', '.join(known)} is accepted."
    )


def split_override(override: str) -> tuple[str, str]:
    """Return key and value of ``section.key=value`` or ``kind=part``, or refuse (ValueError)."""
    key, equals, value = override.partition("=")
    kinds = packaged_parts()
    if not equals or ("." not in key and key not in kinds):
        raise ValueError(
            f"override {override!r} is not understood; section.key=value is accepted, for "
            f"example run.seed=3, or a part of {', '.join(kinds)}, for example bits=4w4a."
        )
    return key, value


def _put_override(table: Table, override: str) -> Table:
    """Put what an override sets into a table; a value that is not TOML is a string."""
    key, value = split_override(override)
    if "." not in key:
        return _put_config(table, f"{key}/{value}")
    for text in (override, f"{key}={json.dumps(value)}"):
        try:
            return merge(table, tomllib.loads(text), Config)
        except tomllib.TOMLDecodeError:
            continue
    raise ValueError(f"override {override!r} has no valid key; use section.key=value.")


def _toml_names(folder: Traversable) -> list[str]:
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml"))
