"""The registered bounds on failure probabilities, which claims, plans and figures read.

Import them from `faqd_math.theory.bounds`, which fills this registry.

To add one, write its function in `faqd_math.theory.bounds` under `register`, its sentence, formula
and proof in ``faqd_math/claims/texts/tails.toml``, and how near it comes in
``tests/test_bounds.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from faqd_math._validation import Array, check_choice, check_count, check_number, check_spectrum
from faqd_math.probes import ProbeLaw
from faqd_math.theory.law import Tail


class TailProbability(Protocol):
    """A failure probability or a bound on it, with the signature of this module's functions."""

    def __call__(self, spectrum: Any, k: int, epsilon: float, *, tail: Tail = "both") -> float:
        """Return the probability, or the bound."""


class Sides(NamedTuple):
    """Bounds on P(T ≥ (1+ε)μ), on P(T ≤ (1−ε)μ) for ε < 1, and on both: by default the sum."""

    upper: float
    lower: float
    both: float | None = None


@dataclass(frozen=True)
class Bound:
    """A registered bound; it is called like its function.

    Attributes
    ----------
    id : str
        Its id in the mathematics, as "B1".
    name : str
        Its name in tables, in at most 26 characters.
    function : callable
        The bound, with its arguments checked.
    source, assumptions : str
        Where the statement comes from, and what must hold for it.
    probes : str
        The law of the probes.
    epsilon_at_most : float
        Largest relative error that the statement covers.
    """

    id: str
    name: str
    function: TailProbability
    source: str
    assumptions: str
    probes: ProbeLaw
    epsilon_at_most: float

    def __call__(self, spectrum: Any, k: int, epsilon: float, *, tail: Tail = "both") -> float:
        """Bound the probability."""
        return self.function(spectrum, k, epsilon, tail=tail)


#: All registered bounds by id.
BOUNDS: dict[str, Bound] = {}


def gaussian_bounds() -> dict[str, Bound]:
    """Return the bounds for gaussian probes by id: those to compare with the exact law."""
    return {name: bound for name, bound in BOUNDS.items() if bound.probes == "gaussian"}


def register(
    bound_id: str,
    name: str,
    *,
    source: str,
    assumptions: str = "Independent gaussian probes; ε > 0; A ≠ 0. The sides are added.",
    probes: ProbeLaw = "gaussian",
    epsilon_at_most: float = np.inf,
) -> Callable[[Callable[[Array, int, float], Sides]], TailProbability]:
    """Register the `Sides` of a bound, as a function that checks its arguments, in `BOUNDS`.

    Raises
    ------
    ValueError
        If the id is that of a bound with another name.
    """

    def decorate(formula: Callable[[Array, int, float], Sides]) -> TailProbability:
        # A module that is loaded again registers the same bounds again.
        if bound_id in BOUNDS and BOUNDS[bound_id].name != name:
            raise ValueError(f"the bound {bound_id} is registered already; choose another id.")

        def bound(spectrum: Any, k: int, epsilon: float, *, tail: Tail = "both") -> float:
            eigenvalues, k = check_spectrum(spectrum), check_count(k, "k")
            hint = "pass the relative error, such as 0.3"
            # The limits keep ε² from under- and overflow.
            epsilon = check_number(epsilon, "epsilon", above=1e-100, below=1e100, hint=hint)
            check_choice(tail, "tail", ("both", "upper", "lower"))
            if epsilon > epsilon_at_most:
                raise ValueError(
                    f"epsilon is {epsilon}; this statement holds up to {epsilon_at_most:g}: "
                    f"lower epsilon or choose another bound."
                )
            if not eigenvalues.any():
                return 0.0
            upper, lower, both = formula(eigenvalues, k, epsilon)
            lower = lower if epsilon < 1 else 0.0
            return float({"upper": upper, "lower": lower, "both": both or upper + lower}[tail])

        bound.__name__, bound.__qualname__ = formula.__name__, formula.__qualname__
        bound.__module__, bound.__doc__ = formula.__module__, formula.__doc__
        BOUNDS[bound_id] = Bound(
            bound_id, name, bound, source, assumptions, probes, epsilon_at_most
        )
        return bound

    return decorate
