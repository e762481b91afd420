"""Hypothesis strategies for feature maps, probes, weights and generators."""

from __future__ import annotations

from functools import partial

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from faqd_math._validation import Array
from faqd_math.features import resize_bilinear
from faqd_math.probes import PROBE_LAWS, sample_probes

_Leading = tuple[int, ...]

# Eighths from −4 to 4: exact in every floating format, quick to draw, easy to read when shrunk,
# and with zeros often enough that dead pixels and parallel pixels come up.
_ENTRIES = st.integers(-32, 32).map(lambda eighths: eighths / 8)


def generators() -> st.SearchStrategy[np.random.Generator]:
    """Draw a NumPy generator; it shrinks to seed 0."""
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


@st.composite
def _maps_of_shape(draw: st.DrawFn, shape: tuple[int, ...], readable: bool | None) -> Array:
    """Draw one array of maps: readable entries, or generic, rectified, low-rank or wild ones."""
    if draw(st.booleans()) if readable is None else readable:
        return draw(npst.arrays(np.float64, shape, elements=_ENTRIES))
    rng = draw(generators())
    maps = rng.standard_normal(shape)
    match draw(st.sampled_from(["generic", "rectified", "rank one", "wild scales", "dead pixels"])):
        case "rectified":
            maps = np.maximum(maps, 0)
        case "rank one":
            maps = rng.standard_normal((*shape[:-2], 1, 1)) * rng.standard_normal(shape[-2:])
        case "wild scales":
            maps *= 10.0 ** rng.integers(-3, 4, (*shape[:-3], 1, *shape[-2:]))
        case "dead pixels":
            maps *= rng.random((*shape[:-3], 1, *shape[-2:])) < 0.7
    return maps


def _leading(max_batch: int) -> st.SearchStrategy[_Leading]:
    return st.one_of(st.just(()), st.integers(1, max_batch).map(lambda b: (b,)))


@st.composite
def feature_maps(
    draw: st.DrawFn,
    max_batch: int = 3,
    max_channels: int = 6,
    max_side: int = 5,
    *,
    leading: _Leading | None = None,
    size: tuple[int, int] | None = None,
    readable: bool | None = None,
) -> Array:
    """Draw feature maps (C, H, W) or (B, C, H, W), float64, finite.

    Parameters
    ----------
    max_batch, max_channels, max_side : int
        Largest B, C, and H and W. One channel, one pixel and one sample come up.
    leading : tuple of int, optional
        Fix the leading axes: () for single maps, (B,) for a batch.
    size : (int, int), optional
        Fix (H, W).
    readable : bool, optional
        True: draw small multiples of 1/8 only, so that what Hypothesis shrinks to is easy to
        read. False: none of them, which is faster. By default both come up.
    """
    if leading is None:
        leading = draw(_leading(max_batch))
    if size is None:
        size = (draw(st.integers(1, max_side)), draw(st.integers(1, max_side)))
    channels = draw(st.integers(1, max_channels))
    return draw(_maps_of_shape((*leading, channels, *size), readable))


@st.composite
def feature_pairs(
    draw: st.DrawFn,
    max_batch: int = 3,
    max_channels: int = 6,
    max_side: int = 5,
    *,
    leading: _Leading | None = None,
    same_size: bool = False,
    readable: bool | None = None,
) -> tuple[Array, Array]:
    """Draw a student's and a teacher's maps: unequal channels and sizes, equal or close maps.

    With ``same_size`` the teacher has the student's H and W. ``leading`` and ``readable`` are as
    in `feature_maps`; readable maps are not close to each other.
    """
    if leading is None:
        leading = draw(_leading(max_batch))
    maps = partial(feature_maps, max_batch, max_channels, max_side, leading=leading)
    student = draw(maps(readable=readable))
    if not readable and draw(st.integers(0, 5)) == 0:
        # A teacher that differs from the student by 0, 1e-12 … 1e-2: where digits cancel.
        gap = draw(st.sampled_from([0.0, 1e-12, 1e-8, 1e-4, 1e-2]))
        return student, student + gap * draw(generators()).standard_normal(student.shape)
    size = student.shape[-2:] if same_size else None
    teacher = draw(maps(readable=readable, size=size))
    assume(interpolates_well(teacher, student.shape[-2:]))
    return student, teacher


def interpolates_well(teacher: Array, size: tuple[int, ...]) -> bool:
    """Tell whether no pixel cancels when the teacher is resized.

    A pixel that interpolation leaves at rounding level of its neighbours has no direction that two
    implementations could agree on.
    """
    if teacher.shape[-2:] == size:
        return True
    height, width = size
    maps = teacher.reshape(-1, *teacher.shape[-3:])
    resized = np.linalg.norm(resize_bilinear(maps, (height, width)), axis=1)
    neighbours = np.linalg.norm(resize_bilinear(np.abs(maps), (height, width)), axis=1)
    return bool((resized >= 1e-2 * neighbours).all())


@st.composite
def feature_triples(
    draw: st.DrawFn, max_channels: int = 6, max_side: int = 5, *, readable: bool | None = None
) -> tuple[Array, Array, Array]:
    """Draw three single maps of one size, for triangle inequalities."""
    size = (draw(st.integers(1, max_side)), draw(st.integers(1, max_side)))
    maps = feature_maps(max_channels=max_channels, leading=(), size=size, readable=readable)
    return draw(maps), draw(maps), draw(maps)


@st.composite
def probes_for(
    draw: st.DrawFn, student: Array, max_probes: int = 5, *, readable: bool = False
) -> Array:
    """Draw probes that fit a student's maps: every law, shared or one matrix per sample.

    ``readable`` ones are small multiples of 1/8, shared, of no law.
    """
    n = student.shape[-2] * student.shape[-1]
    if readable:
        shape = (n, draw(st.integers(1, max_probes)))
        return draw(npst.arrays(np.float64, shape, elements=_ENTRIES))
    law = draw(st.sampled_from(PROBE_LAWS))
    k = draw(st.integers(1, min(n, max_probes) if law == "orthogonal" else max_probes))
    batch = len(student) if student.ndim == 4 and draw(st.booleans()) else None
    return sample_probes(n, k, law=law, rng=draw(generators()), batch=batch)


@st.composite
def weight_arrays(draw: st.DrawFn, max_size: int = 40) -> Array:
    """Draw weights of a layer, of one to four axes: eighths (zeros, ties), or of wild scale."""
    size = draw(st.integers(1, max_size))
    columns = draw(st.sampled_from([c for c in (1, 2, 3) if size % c == 0]))
    shapes = [(size,), (size // columns, columns), (columns, 1, 1, size // columns)]
    shape = draw(st.sampled_from(shapes))
    if draw(st.booleans()):
        return draw(npst.arrays(np.float64, shape, elements=_ENTRIES))
    exponent = draw(st.sampled_from([-200, -3, 0, 3, 200]))
    return draw(generators()).standard_normal(shape) * 10.0**exponent
