"""Calls of an implementation in NumPy, and the global generators that it might touch."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

from faqd_math._validation import Array


class NumpyAdapter:
    """How arrays go into a library's function, and values, gradients and randomness come out."""

    def value(self, function: Callable[..., Any], arrays: list[Array]) -> Any:
        """Call the function with arrays of the library; return its value as NumPy's."""
        # What division by zero leaves is judged by the value, not by the warning.
        with np.errstate(all="ignore"):
            return function(*arrays)

    def value_and_gradient(
        self, function: Callable[..., Any], arrays: list[Array]
    ) -> tuple[Any, Array]:
        """Return also the gradient of the value's sum with respect to the first array."""
        raise TypeError(
            f"{function} takes {len(arrays)} NumPy arrays, which carry no gradient; a function of "
            f"tensors is accepted: set torch=True."
        )

    def generator(self, seed: int) -> Any:
        """Return a seeded generator of the library."""
        return np.random.default_rng(seed)

    def global_states(self) -> dict[str, Any]:
        """Read the states of the global generators, to compare and to restore."""
        state: Any = np.random.get_state()  # noqa: NPY002  (the very state to leave alone)
        numpy_state = (state[0], tuple(state[1]), *state[2:])
        return {"random": random.getstate(), "numpy.random": numpy_state}

    def restore(self, states: dict[str, Any]) -> None:
        """Set the global generators."""
        random.setstate(states["random"])
        np.random.set_state(states["numpy.random"])  # noqa: NPY002

    def advance(self) -> None:
        """Draw once from each global generator."""
        random.random()
        np.random.random()  # noqa: NPY002
