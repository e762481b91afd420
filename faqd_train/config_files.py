"""Read a configuration: a packaged or own TOML file, then overrides from the command line."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from faqd_train.config import Config

Table = dict[str, Any]


def packaged_configs() -> list[str]:
    """Return the names of the configurations that the package ships, sorted."""
    folder = files("faqd_train") / "configs"
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_config(name: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read one configuration and check all of it.

    Parameters
    ----------
    name : str or Path
        One of `packaged_configs`, or a path that ends in ``.toml``. A file may name another
        packaged one in ``base``, whose settings it then changes.
    overrides : strings ``section.key=value``
        Applied in order; the value is TOML, and a bare word is taken as a string.

    Raises
    ------
    ValueError
        In one sentence: an unknown file or setting, with the nearest valid name; a value of
        another type or out of range; settings that contradict each other.

    Examples
    --------
    >>> config = load_config("digits-ffa", ["objective.k=5", "run.seed=3"])
    >>> config.objective.fa_method, config.objective.k, config.run.seed
    ('ffa', 5, 3)
    """
    table = _read_table(name)
    for override in overrides:
        table = _merge(table, _parse_override(override))
    return check_config(table)


def check_config(table: Mapping[str, Any]) -> Config:
    """Return the configuration of a nested table, or refuse it in one sentence (ValueError)."""
    try:
        # JSON has TOML's types; in strict mode it still lets a list be a tuple and 1 be 1.0.
        return Config.model_validate_json(json.dumps(table, default=str))
    except ValidationError as error:
        raise ValueError(_one_sentence(error)) from None


def _read_table(name: str | Path) -> Table:
    path = Path(name)
    if path.suffix != ".toml":
        known = packaged_configs()
        if str(name) not in known:
            raise ValueError(
                f"config {str(name)!r} is unknown{_nearest(str(name), known)}; a path ending in "
                f".toml or one of {', '.join(known)} is accepted."
            )
        text = (files("faqd_train") / "configs" / f"{name}.toml").read_text("utf-8")
    else:
        text = path.read_text("utf-8")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{name} is no valid TOML: {error}.") from None
    base = table.pop("base", None)
    return table if base is None else _merge(_read_table(base), table)


def _parse_override(override: str) -> Table:
    """Parse ``section.key=value``; what is no TOML value is a string."""
    key, equals, value = override.partition("=")
    if not equals or "." not in key:
        raise ValueError(
            f"override {override!r} is not understood; section.key=value is accepted, "
            f"for example run.seed=3."
        )
    for text in (override, f"{key}={json.dumps(value)}"):
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            continue
    raise ValueError(f"override {override!r} has no valid key; use section.key=value.")


def _merge(base: Table, change: Table) -> Table:
    """Return base with the leaves of change put in."""
    merged = dict(base)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _one_sentence(error: ValidationError) -> str:
    """Tell the first problem that pydantic found."""
    problem = error.errors()[0]
    *sections, name = problem["loc"] or ("",)
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"]) + "."
    if problem["type"] == "extra_forbidden":
        known = list(_fields_of(sections))
        return (
            f"{where} is no setting{_nearest(str(name), known)}; accepted there are "
            f"{', '.join(known)}."
        )
    reason = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{where} is {problem['input']!r}; {reason}."


def _fields_of(sections: list[Any]) -> Iterable[str]:
    model: type[BaseModel] = Config
    for section in sections:
        annotation = model.model_fields[str(section)].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return model.model_fields


def _nearest(name: str, known: Iterable[str]) -> str:
    """Ask whether the nearest known name was meant, where there is one."""
    match = get_close_matches(name, list(known), n=1)
    return f" (did you mean {match[0]}?)" if match else ""
