"""Nested tables of settings: merged, completed and checked against their schema.

Where a setting is one of several kinds of sections, such as ``objective.kd`` by its ``loss``, a
table chooses the kind by that key, or by a key that only one kind requires (``model.factory``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from faqd_train.config.section import Section

Table = dict[str, Any]
Model = TypeVar("Model", bound=BaseModel)
NONE = "none"  # in TOML, which has no word for it


def check_table(model: type[Model], table: Mapping[str, Any]) -> Model:
    """Return a table as its pydantic model, or refuse it in one sentence (ValueError)."""
    complete = _complete(table, model)
    try:
        # JSON has TOML's types; in strict mode it still lets a list be a tuple and 1 be 1.0.
        return model.model_validate_json(json.dumps(complete, default=str))
    except ValidationError as error:
        raise ValueError(_sentence(error.errors()[0], model, complete)) from None


def merge(base: Table, change: Table, model: type[BaseModel] | None = None) -> Table:
    """Return base with the leaves of change put in.

    Where the change chooses another kind of section, what only the former kind has is dropped. A
    section that was none does not have its defaults back: what it requires must be given.

    Examples
    --------
    >>> from faqd_train.config.objective import ObjectiveConfig
    >>> merge({"kd": {"loss": "kl", "temperature": 2.0}}, {"kd": {"loss": "mse"}}, ObjectiveConfig)
    {'kd': {'loss': 'mse'}}
    """
    merged = dict(base)
    for key, value in change.items():
        if not isinstance(value, dict):
            merged[key] = value
            continue
        old = merged.get(key, _default(model, key))
        old = old if isinstance(old, dict) else {}
        kind = None
        if model is not None and (kinds := kinds_of(model, key)):
            field = model.model_fields[key]
            former = _choice(field, kinds, old) or kinds[0]
            kind = _choice(field, kinds, value) or former
            if kind is not former:
                dropped = former.model_fields.keys() - kind.model_fields.keys()
                old = {k: v for k, v in old.items() if k not in {*dropped, field.discriminator}}
        merged[key] = merge(old, value, kind)
    return merged


def kinds_of(model: type[BaseModel], key: str) -> list[type[Section]]:
    """Return the sections that a setting may be: several where it is one of many kinds.

    Examples
    --------
    >>> from faqd_train.config.objective import ObjectiveConfig
    >>> [kind.__name__ for kind in kinds_of(ObjectiveConfig, "kd")]
    ['MseConfig', 'KlConfig']
    """
    if key not in model.model_fields:
        return []
    annotation = model.model_fields[key].annotation
    options = get_args(annotation) or (annotation,)
    return [o for o in options if isinstance(o, type) and issubclass(o, Section)]


def setting_names(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return the dotted names of all settings that a model can hold, sections not counted."""
    names = []
    for key in model.model_fields:
        kinds = kinds_of(model, key)
        names += [name for kind in kinds for name in setting_names(kind, f"{prefix}{key}.")]
        names += [] if kinds else [prefix + key]
    return list(dict.fromkeys(names))


def nearest(name: str, known: Iterable[str]) -> str:
    """Ask whether the nearest known name was meant, where there is one."""
    match = get_close_matches(name, list(known), n=1)
    return f" (did you mean {match[0]}?)" if match else ""


def _complete(table: Mapping[str, Any], model: type[BaseModel]) -> Table:
    """Return a table with None for "none" and with the kind of each section written out."""
    complete = dict(table)
    for key, value in table.items():
        kinds = kinds_of(model, key)
        if value == NONE and _is_optional(model, key):
            complete[key] = None
        elif kinds and isinstance(value, dict):
            field = model.model_fields[key]
            kind = _choice(field, kinds, value) or kinds[0]
            tag = field.discriminator
            given = {tag: kind.model_fields[tag].default} if isinstance(tag, str) else {}
            complete[key] = _complete(given | value, kind)
    return complete


def _is_optional(model: type[BaseModel], key: str) -> bool:
    return key in model.model_fields and type(None) in get_args(model.model_fields[key].annotation)


def _default(model: type[BaseModel] | None, key: str) -> Table:
    """Return what a section requires, from its default."""
    field = model.model_fields.get(key) if model else None
    default = field.default if field else None
    if not isinstance(default, Section):
        return {}
    return {name: getattr(default, name) for name in _required(type(default))}


def _choice(field: FieldInfo, kinds: list[type[Section]], table: Table) -> type[Section] | None:
    """Return the kind that a table chooses, or None if it chooses none."""
    tag = field.discriminator
    for kind in kinds:
        others = {name for other in kinds if other is not kind for name in other.model_fields}
        if tag in table:
            fits = table[tag] in get_args(kind.model_fields[str(tag)].annotation)
        else:
            fits = bool((_required(kind) - others) & table.keys())
        if fits:
            return kind
    return None


def _required(kind: type[Section]) -> set[str]:
    return {name for name, field in kind.model_fields.items() if field.is_required()}


def _sentence(problem: ErrorDetails, model: type[BaseModel], table: Table) -> str:
    """Describe a problem that pydantic found."""
    path, section, siblings = _place(problem["loc"], model, table)
    where, name, parent = ".".join(path), path[-1] if path else "", ".".join(path[:-1])
    given, context = problem["input"], problem.get("ctx", {})
    if problem["type"] == "value_error":
        return f"{context['error']}."
    if problem["type"] == "missing":
        return f"{where} is missing; give it" + (
            f", or set nothing of {parent}." if parent else "."
        )
    if problem["type"] == "extra_forbidden":
        known = list(section.model_fields)
        owners = [choice for choice, kind in siblings.items() if name in kind.model_fields]
        if owners:
            return f"{where} belongs to {parent} with {owners[0]}; set that, or drop {where}."
        return (
            f"{where} is not a setting{nearest(name, known)}; accepted there are "
            f"{', '.join(known)}."
        )
    if problem["type"] == "union_tag_invalid":
        tag, accepted = context["discriminator"].strip("'"), context["expected_tags"]
        hint = nearest(context["tag"], accepted.replace("'", "").split(", "))
        return f"{where}.{tag} is {given[tag]!r}{hint}; accepted are {accepted}."
    kinds = kinds_of(section, name)
    if kinds and problem["type"] in ("dict_type", "model_type"):
        optional = " or none" if _is_optional(section, name) else ""
        names = ", ".join(kinds[0].model_fields)
        return f"{where} is {given!r}; a section of {names}{optional} is accepted."
    reason = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{where} is {given!r}; {reason}."


def _place(
    location: tuple[int | str, ...], model: type[BaseModel], table: Any
) -> tuple[list[str], type[BaseModel], dict[str, type[Section]]]:
    """Return the names that lead to a place, the section there, and its kinds by what they need.

    In pydantic's location the name of a section of several kinds is followed by the kind.
    """
    siblings: dict[str, type[Section]] = {}
    path = [str(part) for part in location]
    for index, key in enumerate(path[:-1]):
        kinds = kinds_of(model, key)
        if not kinds:  # an item of a list, say
            break
        table = table[key]
        field = model.model_fields[key]
        model, siblings = _choice(field, kinds, table) or kinds[0], {}
        if tag := field.discriminator:
            del path[index + 1]
            tags = [str(kind.model_fields[str(tag)].default).lower() for kind in kinds]
            siblings = {f"{tag}={own}": kind for own, kind in zip(tags, kinds, strict=True)}
    return path, model, siblings
