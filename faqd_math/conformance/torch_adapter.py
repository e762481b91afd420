"""Calls of an implementation in torch: the only file of the package that imports it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from faqd_math._validation import Array
from faqd_math.conformance.numpy_adapter import NumpyAdapter


class TorchAdapter(NumpyAdapter):
    """As `NumpyAdapter`, with tensors that share the arrays' memory and torch's generator."""

    def value(self, function: Callable[..., Any], arrays: list[Array]) -> Any:
        """Call the function with tensors, without gradients."""
        with torch.no_grad():
            result = function(*(torch.from_numpy(array) for array in arrays))
        return result.double().numpy() if isinstance(result, torch.Tensor) else result

    def value_and_gradient(
        self, function: Callable[..., Any], arrays: list[Array]
    ) -> tuple[Any, Array]:
        """Differentiate the value's sum with respect to the first tensor."""
        student, *others = (torch.from_numpy(array) for array in arrays)
        leaf = student.clone().requires_grad_()
        loss = function(leaf, *others)
        loss.sum().backward()
        if leaf.grad is None:
            raise RuntimeError("no gradient reaches the student.")
        return float(loss.detach().double().sum()), np.asarray(leaf.grad.double().numpy())

    def generator(self, seed: int) -> torch.Generator:
        """Return a seeded generator on the CPU."""
        return torch.Generator().manual_seed(seed)

    def global_states(self) -> dict[str, Any]:
        """Read torch's state, too."""
        return super().global_states() | {"torch": tuple(torch.get_rng_state().tolist())}

    def restore(self, states: dict[str, Any]) -> None:
        """Set torch's global generator, too."""
        super().restore(states)
        torch.set_rng_state(torch.tensor(states["torch"], dtype=torch.uint8))

    def advance(self) -> None:
        """Draw once from torch's global generator, too."""
        super().advance()
        torch.rand(())
