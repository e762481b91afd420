"""What a claim is, and what its check returns."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from faqd_math._validation import Array
from faqd_math.claims.statements import STATEMENTS, Statement
from faqd_math.claims.subjects import Case, Subject

Relation = Literal["=", "<="]
Method = Literal[
    "identity",
    "exact law",
    "enumeration",
    "extended precision",
    "operation count",
    "optimisation",
    "replication",
]
Check = Callable[[Any, "Sampling"], "Evidence"]


@dataclass(frozen=True)
class Sampling:
    """How claims in probability are checked.

    Attributes
    ----------
    rng : numpy.random.Generator
        Source of all probes.
    replications : int
        Independent draws of each estimate.
    false_alarm : float
        Probability with which the check of one true claim on one subject fails.
    k : int
        Probes of each estimate.
    """

    rng: np.random.Generator
    replications: int
    false_alarm: float
    k: int
    _drawn: dict[Hashable, Array] = field(default_factory=dict, repr=False, compare=False)

    def once(self, key: Hashable, draw: Callable[[], Array]) -> Array:
        """Draw replications at the first call with a key, and share them with later claims.

        Their p-values are then dependent, to which Holm's procedure is indifferent. What several
        claims compute from a case without a draw is shared likewise.
        """
        if key not in self._drawn:
            self._drawn[key] = draw()
        return self._drawn[key]


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
    method: Method
    check: Check
    on: type[Subject] = Case

    @property
    def statement(self) -> Statement:
        """Its sentence, formula, assumptions, source and proof."""
        return STATEMENTS[self.id]
