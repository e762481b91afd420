"""The counter of operations and bytes: against shapes, and against Python's own tracing."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faqd_math import losses
from faqd_math.claims.costs import counted
from faqd_math.claims.counting import Counter

SIZES = st.integers(1, 6)


@given(SIZES, SIZES, SIZES, SIZES)
def test_products_count_an_entry_times_its_terms(b, m, p, n):
    counter = Counter()
    counter.watch(np.ones((b, m, p))) @ np.ones((p, n))
    np.ones((b, n, m)) @ counter.watch(np.ones((m, p)))
    assert counter.multiply_adds == b * m * p * n + b * n * m * p


def test_views_slices_and_elementwise_work_are_no_products_and_views_take_no_memory():
    counter = Counter()
    x = counter.watch(np.ones((4, 5)))
    views = [x.mT, x[1:], *x]
    assert (counter.multiply_adds, counter.peak_bytes) == (0, 0)
    total = (views[1] ** 2).sum()
    assert counter.multiply_adds == 0
    assert counter.peak_bytes == 8 * 15
    assert total == 15


def test_peak_forgets_results_that_are_gone():
    counter = Counter()
    x = counter.watch(np.ones(100))
    for _ in range(3):
        x + 1
    kept = x + 1
    slice_of_it = (kept + 1)[:2]
    del kept
    assert counter.peak_bytes == 2 * 800
    x + 1  # beside the whole of what the slice holds alive
    assert counter.peak_bytes == 2 * 800
    assert slice_of_it[0] == 3


@pytest.mark.parametrize(
    ("path", "run"),
    [
        ("direct", losses.direct_total),
        ("gram", losses.gram_total),
        ("ffa", lambda x, y: losses.apply_gap(x, y, np.ones((400, 15))) ** 2),
    ],
)
def test_counted_bytes_agree_with_those_that_python_traces(path, run):
    """Within a factor: NumPy reuses some temporaries, and Python's own objects and probes add."""
    x, y = np.random.default_rng(0).standard_normal((2, 1, 40, 400))
    stated = counted(path, x, y, 15).peak_bytes
    tracemalloc.start()
    try:
        run(x, y)
        traced = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0.5 * stated <= traced <= 1.4 * stated + 4096
