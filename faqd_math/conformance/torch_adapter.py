"""Calls of an implementation in torch: the only file of the package that imports it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from faqd_math._validation import Array
from faqd_math.conformance import numpy_adapter


def value(function: Callable[..., Any], arrays: list[Array]) -> Any:
    """Call the function with tensors that share the arrays' memory."""
    with torch.no_grad():
        return _array(function(*(torch.from_numpy(array) for array in arrays)))


def value_and_gradient(function: Callable[..., Any], arrays: list[Array]) -> tuple[Any, Array]:
    """Differentiate the value's sum with respect to the first tensor."""
    student, *others = (torch.from_numpy(array) for array in arrays)
    leaf = student.clone().requires_grad_()
    loss = function(leaf, *others)
    loss.sum().backward()
    if leaf.grad is None:
        raise RuntimeError("no gradient reaches the student.")
    return float(loss.detach().double().sum()), np.asarray(leaf.grad.double().numpy())


def generator(seed: int) -> torch.Generator:
    """Return a seeded generator on the CPU."""
    return torch.Generator().manual_seed(seed)


def global_states() -> dict[str, Any]:
    """Read the states of Python's, NumPy's and torch's global generators."""
    return numpy_adapter.global_states() | {"torch": tuple(torch.get_rng_state().tolist())}


def restore(states: dict[str, Any]) -> None:
    """Set Python's, NumPy's and torch's global generators."""
    numpy_adapter.restore(states)
    torch.set_rng_state(torch.tensor(states["torch"], dtype=torch.uint8))


def advance() -> None:
    """Draw once from Python's, NumPy's and torch's global generators."""
    numpy_adapter.advance()
    torch.rand(())


def _array(result: Any) -> Any:
    return result.double().numpy() if isinstance(result, torch.Tensor) else result
