"""The maps that properties are checked on: searched by Hypothesis, or a few fixed ones.

Arguments are those of a property after the implementation, by name and in their order. Searches
come in pairs: readable entries first, so that a counterexample is small and easy to read, then
generic, rectified, rank-one, wildly scaled and nearly equal maps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from hypothesis import strategies as st

from faqd_math._validation import Array
from faqd_math.conformance.conventions import Conventions
from faqd_math.features import resize_bilinear
from faqd_math.testing.definitions import TINY_NORM
from faqd_math.testing.strategies import (
    feature_pairs,
    feature_triples,
    interpolates_well,
    probes_for,
)

Arguments = dict[str, Any]
Searches = list[Arguments | st.SearchStrategy[Arguments]]

# Shapes (C, H, W) of student and teacher.
_FIXED = (((2, 1, 2), (2, 1, 2)), ((3, 3, 3), (4, 3, 3)))


@dataclass(frozen=True)
class Seed:
    """Stands for a generator in a case: made anew for each call, and printed as Python."""

    value: int

    def __repr__(self) -> str:
        return f"np.random.default_rng({self.value})"


Kind = Literal["plain", "resized", "batch", "dead pixel", "seed"]


def _search(kind: Kind) -> Callable[[Conventions], Searches]:
    """Search maps of a kind, as `_maps_and_probes` draws them."""
    return lambda conventions: _both(conventions, partial(_maps_and_probes, kind=kind))


#: Maps of one size without dead pixels, and probes where they are an argument.
pairs = _search("plain")
#: Teachers of other size.
resized_pairs = _search("resized")
#: Batches of two or three.
batches = _search("batch")
#: A pixel of the student, the teacher or both is dead.
dead_pixels = _search("dead pixel")
#: As `pairs`, with a generator.
pairs_and_seeds = _search("seed")


def triples(conventions: Conventions) -> Searches:
    """Search three maps of one size without dead pixels."""

    def draw(_: Conventions, readable: bool) -> st.SearchStrategy[Arguments]:
        maps = feature_triples(**_sizes(readable), readable=readable)
        return maps.map(lambda three: dict(zip("abc", map(_revived, three), strict=True)))

    return _both(conventions, draw)


def fixed_pairs(conventions: Conventions) -> Searches:
    """Fix two pairs, of 2 and of 9 pixels, and probes where they are an argument."""
    return [_fixed(conventions, *shapes) for shapes in _FIXED]


def one_pair(conventions: Conventions) -> Searches:
    """Fix 25 pixels: enough for the values of random probes, of any law, not to repeat."""
    return [_fixed(conventions, (3, 5, 5), (4, 5, 5))]


def fixed_pairs_and_seeds(conventions: Conventions) -> Searches:
    """Fix pairs as `fixed_pairs`, with a generator in place of probes."""
    without_probes = replace(conventions, kind="fa", probes=None)
    return [_fixed(without_probes, *shapes) | {"rng": Seed(0)} for shapes in _FIXED]


def fixed_batch(conventions: Conventions) -> Searches:
    """Fix two unequal samples."""
    return [_fixed(conventions, (2, 3, 2, 2), (2, 2, 2, 2))]


def tiny_and_unit(conventions: Conventions) -> Searches:
    """Fix pixels of norm 1e-6 and, with the same affinities, of norm 1."""
    case = _fixed(conventions, (3, 2, 2), (4, 2, 2))
    unit = {f"same_{name}": m / np.linalg.norm(m, axis=0) for name, m in case.items()}
    tiny = {name: TINY_NORM * unit[f"same_{name}"] for name in case}
    return [_cast(conventions, tiny | unit)]


def small_and_resized(conventions: Conventions) -> Searches:
    """Fix a teacher of other size and, with the same affinities, the teacher resized."""
    case = _fixed(conventions, (3, 3, 3), (4, 2, 2))
    resized = resize_bilinear(case["teacher"][np.newaxis].astype(float), (3, 3))[0]
    same = {"same_student": case["student"], "same_teacher": resized}
    return [_cast(conventions, case | same)]


def _both(
    conventions: Conventions, draw: Callable[[Conventions, bool], st.SearchStrategy[Arguments]]
) -> Searches:
    cast = partial(_cast, conventions)
    return [draw(conventions, readable).map(cast) for readable in (True, False)]


@st.composite
def _maps_and_probes(
    draw: st.DrawFn, conventions: Conventions, readable: bool, *, kind: Kind
) -> Arguments:
    leading = (draw(st.integers(2, 3)),) if kind == "batch" else ()
    same_size = kind != "resized"
    maps = feature_pairs(
        **_sizes(readable), leading=leading, same_size=same_size, readable=readable
    )
    student, teacher = map(_revived, draw(maps.filter(lambda p: same_size or _sizes_differ(*p))))
    if kind == "dead pixel":
        _kill_a_pixel(draw, student, teacher)
    elif not same_size and not interpolates_well(teacher, student.shape[-2:]):
        # What was revived may cancel its neighbours.
        teacher = np.abs(teacher)
    case = _maps(student, teacher)
    if conventions.probes == "argument":
        single = student if student.ndim == 3 else student[0]
        case["probes"] = draw(probes_for(single, 2 if readable else 5, readable=readable))
    if kind == "seed":
        case["rng"] = Seed(draw(st.integers(0, 99)))
    return case


def _sizes(readable: bool) -> dict[str, int]:
    return {"max_channels": 3, "max_side": 3} if readable else {}


def _sizes_differ(student: Array, teacher: Array) -> bool:
    return student.shape[-2:] != teacher.shape[-2:]


def _kill_a_pixel(draw: st.DrawFn, student: Array, teacher: Array) -> None:
    row, column = (draw(st.integers(0, side - 1)) for side in student.shape[-2:])
    of_student, of_teacher = draw(st.sampled_from([(True, False), (False, True), (True, True)]))
    for maps, dies in ((student, of_student), (teacher, of_teacher)):
        if dies:
            maps[..., row, column] = 0


def _revived(maps: Array) -> Array:
    """Set dead pixels to 1, so that only cases that are about them have any."""
    return np.where(np.any(maps != 0, axis=-3, keepdims=True), maps, 1.0)


def _fixed(
    conventions: Conventions, student: tuple[int, ...], teacher: tuple[int, ...]
) -> Arguments:
    """Small multiples of 1/8, the same at every call."""
    rng = np.random.default_rng(0)
    case = _maps(*(_revived(rng.integers(-8, 9, shape) / 8) for shape in (student, teacher)))
    if conventions.probes == "argument":
        case["probes"] = rng.integers(-8, 9, (student[-2] * student[-1], 3)) / 4
    return _cast(conventions, case)


def _maps(student: Array, teacher: Array) -> Arguments:
    return {"student": student, "teacher": teacher}


def _cast(conventions: Conventions, case: Arguments) -> Arguments:
    """Round all arrays to the dtype that the implementation is given."""
    return {
        name: value.astype(conventions.dtype) if isinstance(value, np.ndarray) else value
        for name, value in case.items()
    }
