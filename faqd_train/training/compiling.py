"""A network's forward pass by torch.compile, within a context; the network stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from faqd_train.training import distributed

CONFIG = {
    # Networks of other shapes, bits or precision that one process compiles; torch's own limit is
    # 8, from where on it says little and runs without compiling.
    "recompile_limit": 64,
    # Networks of one class share what was compiled: that of one without taps is not for another
    # with taps, which are hooks.
    "skip_nnmodule_hook_guards": False,
}

GRADIENT_TOLERANCE = 0.5  # relative, on one batch in the precision of the run

Context = Callable[[], AbstractContextManager[None]]


def compiled(network: nn.Module, device: torch.device, *, backend: str = "inductor") -> Context:
    """Return a maker of contexts in which the network's passes, forward and backward, are compiled.

    Compiling comes with the first pass in a mode, or of a size, and takes from half a minute to
    some minutes. Hooks of the network itself run outside of what is compiled, those of its modules
    inside. Results are those of the plain passes to rounding.

    Raises
    ------
    ValueError
        As `check_compiling` does.
    """
    check_compiling(device, backend=backend)
    forward = torch.compile(network.forward, dynamic=False, backend=backend)

    @contextmanager
    def context() -> Iterator[None]:
        own = vars(network).get("forward")
        setattr(network, "forward", forward)  # noqa: B010, a method for mypy
        try:
            with torch._dynamo.config.patch(CONFIG):
                yield
        finally:
            if own is None:
                del network.forward
            else:
                setattr(network, "forward", own)  # noqa: B010

    return context


def check_compiling(device: torch.device, *, backend: str = "inductor") -> None:
    """Refuse several processes, and a machine where torch cannot compile (ValueError)."""
    if distributed.process_count() > 1:
        raise ValueError(
            f"run.compile is true in each of {distributed.process_count()} processes; it is "
            f"accepted in one: set run.compile=false, or start one process."
        )
    try:
        torch.compile(torch.neg, backend=backend)(torch.ones(2, device=device))
    except Exception as error:  # of many kinds: no C++ compiler, no headers of Python, no Triton
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise ValueError(
            f"run.compile is true but torch.compile failed here: {reason}. A C++ compiler, or "
            f"Triton on a GPU, is needed: install it or set run.compile=false."
        ) from error


def check_same_gradient(plain: Tensor, compiled: Tensor) -> None:
    """Refuse a compiled network whose gradient is not that of the plain one (ValueError).

    Rounding moves some activations to the next level. A compiler that loses a derivative is off by
    as much as the gradient itself, and trains on without a word.
    """
    error = float((plain - compiled).norm() / plain.norm())
    if error > GRADIENT_TOLERANCE:
        raise ValueError(
            f"run.compile is true but the gradient of the compiled network is off by {error:.0%} "
            f"with torch {torch.__version__} here; {GRADIENT_TOLERANCE:.0%} at most is accepted: "
            f"set run.compile=false, or use another version of torch."
        )
