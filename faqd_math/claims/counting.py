"""Arrays that count what is done with them: multiply-adds of products, and bytes held (§4)."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from faqd_math._validation import Array


class Counter:
    """Operations on the arrays of one computation, and the memory that their results take.

    Attributes
    ----------
    multiply_adds : int
        Of matrix products, each of its entries taken for itself: BLAS computes only one half of
        XXᵀ, which is symmetric, and that counts as the whole.
    peak_bytes : int
        Largest sum of bytes of results alive at one time; the arrays given do not count.

    Examples
    --------
    >>> counter = Counter()
    >>> x = counter.watch(np.ones((3, 4)))
    >>> product = x @ x.mT
    >>> counter.multiply_adds, counter.peak_bytes
    (36, 72)
    """

    def __init__(self) -> None:
        self.multiply_adds = 0
        self.peak_bytes = 0
        self._live_bytes = 0

    def watch(self, array: Array) -> Array:
        """Return a view of an array that reports to this counter, as do all results from it."""
        view = array.view(_Counted)
        view.counter = self
        return view

    def record_product(self, left: Array, product: Array) -> None:
        """Count a product's entries, each a sum of as many terms as its left factor has columns."""
        self.multiply_adds += product.size * left.shape[-1]

    def record_result(self, result: Array) -> None:
        """Count a new array's bytes for as long as it lives."""
        self._change(result.nbytes)
        weakref.finalize(result, self._change, -result.nbytes)

    def _change(self, by: int) -> None:
        self._live_bytes += by
        self.peak_bytes = max(self.peak_bytes, self._live_bytes)


class _Counted(np.ndarray[Any, np.dtype[np.floating[Any]]]):
    """An array that tells its counter of every NumPy function applied to it."""

    counter: Counter

    def __array_finalize__(self, source: Any) -> None:
        if isinstance(source, _Counted):
            self.counter = source.counter

    def __array_ufunc__(self, ufunc: Any, method: Any, *inputs: Any, **options: Any) -> Any:
        plain = [np.asarray(value) for value in inputs]
        result = getattr(ufunc, method)(*plain, **options)
        if ufunc is np.matmul:
            self.counter.record_product(plain[0], result)
        if not isinstance(result, np.ndarray):
            return result
        self.counter.record_result(result)
        return self.counter.watch(result)
