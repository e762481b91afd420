"""Calls of an implementation in NumPy, and the global generators that it might touch."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

from faqd_math._validation import Array


def value(function: Callable[..., Any], arrays: list[Array]) -> Any:
    """Call the function with the arrays themselves."""
    # What division by zero leaves is judged by the value, not by the warning.
    with np.errstate(all="ignore"):
        return function(*arrays)


def value_and_gradient(function: Callable[..., Any], arrays: list[Array]) -> tuple[Any, Array]:
    """Refuse: NumPy differentiates nothing."""
    raise TypeError(
        f"{function} takes {len(arrays)} NumPy arrays, which carry no gradient; a function of "
        f"tensors is accepted: set torch=True."
    )


def generator(seed: int) -> np.random.Generator:
    """Return a seeded generator."""
    return np.random.default_rng(seed)


def global_states() -> dict[str, Any]:
    """Read the states of Python's and NumPy's global generators."""
    state: Any = np.random.get_state()  # noqa: NPY002  (the very state to leave alone)
    return {"random": random.getstate(), "numpy.random": (state[0], tuple(state[1]), *state[2:])}


def restore(states: dict[str, Any]) -> None:
    """Set Python's and NumPy's global generators."""
    random.setstate(states["random"])
    np.random.set_state(states["numpy.random"])  # noqa: NPY002


def advance() -> None:
    """Draw once from Python's and NumPy's global generators."""
    random.random()
    np.random.random()  # noqa: NPY002
