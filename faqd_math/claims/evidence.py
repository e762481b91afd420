"""What a claim is, and what its check returns."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import Any, Literal

import numpy as np

from faqd_math._validation import Array
from faqd_math.claims.statements import STATEMENTS, Statement
from faqd_math.claims.subjects import Case, Subject

Relation = Literal["=", "<="]
CheckMethod = Literal[
    "identity",
    "exact law",
    "enumeration",
    "extended precision",
    "operation count",
    "optimisation",
    "replication",
]


@dataclass(frozen=True)
class Sampling:
    """How one claim in probability is checked on one subject, and its random numbers.

    These depend on ``entropy``, the claim and the subject alone, not on what else is checked.

    Attributes
    ----------
    entropy : tuple of int
        Seeds of the whole report.
    replications : int
        Independent draws of each estimate.
    false_alarm : float
        Probability with which the check of one true claim on one subject fails.
    k : int
        Probes of each estimate.
    stream : tuple of str
        What the random numbers are for: the claim's id, the subject's type and name.
    """

    entropy: tuple[int, ...]
    replications: int
    false_alarm: float
    k: int
    stream: tuple[str, ...] = ()
    _shared: dict[Hashable, Array] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def rng(self) -> np.random.Generator:
        """Generator of this stream alone."""
        name = sha256("\n".join(self.stream).encode()).digest()
        return np.random.default_rng([*self.entropy, *name])

    def of(self, purpose: str, subject: Subject) -> Sampling:
        """Return the same settings with the stream of a purpose, as a claim's id, and subject."""
        return replace(self, stream=(purpose, type(subject).__name__, subject.name))

    def shared(self, what: str, subject: Subject, draw: Callable[[Sampling], Array]) -> Array:
        """Compute something of a subject once for several claims, from a stream of its own.

        Their p-values are then dependent, which Holm's procedure allows.
        """
        key = (what, subject)
        if key not in self._shared:
            self._shared[key] = draw(self.of(what, subject))
        return self._shared[key]


@dataclass(frozen=True)
class Evidence:
    """A measured value beside the claimed one.

    Attributes
    ----------
    measured, claimed : float
        Value found, and value or bound stated.
    relation : {"=", "<="}
        Whether the claim is an equality or an upper bound.
    allowance : float
        What rounding, or chance at the check's false-alarm rate, may add.
    p_value : float, optional
        Of a check by replication: the probability, were the claim true, to be as far off.
    detectable : float, optional
        Of a check by replication: the deviation that it finds with probability 0.9.
    """

    measured: float
    claimed: float
    relation: Relation
    allowance: float
    p_value: float | None = None
    detectable: float | None = None

    @property
    def excess(self) -> float:
        """Distance from the claim, signed where the claim is a bound."""
        difference = self.measured - self.claimed
        return abs(difference) if self.relation == "=" else difference

    @property
    def holds(self) -> bool:
        """Whether the claim stands; a NaN never does."""
        return bool(self.excess <= self.allowance)

    @property
    def margin(self) -> float:
        """How much farther off the measured value might have been."""
        return self.allowance - self.excess

    @property
    def strain(self) -> float:
        """Excess over allowance: the larger, the closer to failing; above 1 the claim fails."""
        if self.allowance > 0:
            return self.excess / self.allowance
        return 0.0 if self.holds else np.inf

    @property
    def tightness(self) -> float | None:
        """Of a bound, the share of it that is reached: 1 is tight."""
        return self.measured / self.claimed if self.relation == "<=" and self.claimed else None


@dataclass(frozen=True)
class Claim:
    """One statement of the theory and the check that can refute it.

    Attributes
    ----------
    id : str
        Its id in the mathematics, as "P2".
    method : str
        How it is checked.
    check : callable (subject, Sampling) -> Evidence
    on : type
        What it is checked on: Case, Batch, Weights or Standalone.
    """

    id: str
    method: CheckMethod
    check: Callable[[Any, Sampling], Evidence]
    on: type[Subject] = Case

    @property
    def statement(self) -> Statement:
        """Its sentence, formula, assumptions, source and proof."""
        return STATEMENTS[self.id]
