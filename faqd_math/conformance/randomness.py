"""Whose random numbers an implementation takes: the caller's, and no global generator's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from faqd_math._validation import Array
from faqd_math.conformance.implementation import Implementation
from faqd_math.conformance.numpy_adapter import NumpyAdapter
from faqd_math.testing.properties import assert_close


@contextmanager
def preserved_global_generators(adapter: NumpyAdapter) -> Iterator[None]:
    """Put the global generators back as they were, whatever the code inside does to them."""
    before = adapter.global_states()
    try:
        yield
    finally:
        adapter.restore(before)


def global_generators_are_left(
    loss: Implementation,
    student: Array,
    teacher: Array,
    *probes: Array,
    may_draw: bool = False,
) -> None:
    """R3: the call seeds no global generator, nor, unless it may, draws from one."""
    adapter = loss.adapter
    with preserved_global_generators(adapter):
        # A state that an earlier call seeded would else stand there again, unnoticed.
        adapter.advance()
        before = adapter.global_states()
        loss(student, teacher, *probes)
        first = adapter.global_states()
        adapter.advance()
        loss(student, teacher, *probes)
        second = adapter.global_states()
    # Two calls that start from different states end in the same one only if they seed it.
    seeded = [name for name in first if first[name] == second[name]]
    if seeded:
        raise AssertionError(f"R3: the call seeds the global generator of {', '.join(seeded)}.")
    drawn = [name for name in first if first[name] != before[name]]
    if drawn and not may_draw:
        raise AssertionError(f"R3: the call draws from the global generator of {', '.join(drawn)}.")


def equal_seeds_give_equal_values(loss: Implementation, student: Array, teacher: Array) -> None:
    """Equally seeded, the generator that is passed along gives the same value."""
    values = []
    for _ in range(2):
        loss.restart()
        values.append(loss(student, teacher))
    assert_close(values[1], values[0], 0.0, "the same call with an equally seeded generator")
