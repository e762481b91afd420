"""A configuration as a TOML file that says of every setting what it means and its default."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any, Literal, get_args, get_origin

from pydantic_core import PydanticUndefined

from faqd_train.config.schema import Config
from faqd_train.config.section import Section
from faqd_train.config.tables import NONE, kinds_of

WIDTH = 80


def describe_config(config: Config) -> str:
    """Return all settings as TOML that `load_config` reads, with comments in lines of 80.

    Examples
    --------
    >>> describe_config(Config()).splitlines()[:2]
    ['# Which images, and how they are augmented.', '[data]']
    """
    return "\n".join(_lines(config, Config(), [Config], "")).lstrip() + "\n"


def _lines(
    section: Section, default: object, kinds: Sequence[type[Section]], prefix: str
) -> Iterator[str]:
    """Give the lines of a section; the sections within it come last."""
    own = type(section).model_fields
    within = [key for key in own if isinstance(getattr(section, key), Section)]
    for key in own:
        if key not in within:
            usual = getattr(default, key) if hasattr(default, key) else own[key].default
            yield from _comment(_meaning(key, kinds, usual))
            yield f"{key} = {_toml(getattr(section, key))}"
    for key in within:
        value = getattr(section, key)
        yield ""
        yield from _comment(str(type(value).__doc__).partition("\n")[0])
        yield f"[{prefix}{key}]"
        inner = kinds_of(type(section), key)
        yield from _lines(value, getattr(default, key, None), inner, f"{prefix}{key}.")


def _meaning(key: str, kinds: Sequence[type[Section]], usual: Any) -> str:
    """Say what a setting means, which values it has, and its default."""
    fields = [kind.model_fields[key] for kind in kinds if key in kind.model_fields]
    words = [next(field.description for field in fields if field.description)]
    choices = dict.fromkeys(c for field in fields for c in _choices(field.annotation))
    if choices and not any(isinstance(choice, bool) for choice in choices):
        words.append(f"One of {', '.join(map(str, choices))}.")
    if parts := kinds_of(kinds[0], key):
        words.append(f"Otherwise a section of {', '.join(parts[0].model_fields)}.")
    elif usual is not PydanticUndefined and fields[0].default_factory is None:
        words.append(f"Default: {_toml(usual)}.")
    return " ".join(words)


def _choices(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [choice for part in get_args(annotation) for choice in _choices(part)]


def _comment(text: str) -> list[str]:
    return wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _toml(value: Any) -> str:
    if value is None:
        return json.dumps(NONE)
    if isinstance(value, dict):
        items = ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items())
        return f"{{{items}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
