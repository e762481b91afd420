"""What a claim is, what it is checked on, and what a check returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from faqd_math._validation import Array
from faqd_math.spectrum import effective_rank, gap_spectrum

Relation = Literal["=", "<="]
Check = Callable[["Case", "Sampling"], "Evidence"]


@dataclass(frozen=True)
class Case:
    """One sample's maps, on which claims are checked.

    Attributes
    ----------
    name : str
        Where the maps come from, as "stage1[3]".
    student, teacher : array (C, H, W)
        Feature maps with a gap that is not zero.
    """

    name: str
    student: Array
    teacher: Array

    @property
    def n(self) -> int:
        """Pixels N of the student's map."""
        return int(self.student.shape[1] * self.student.shape[2])

    @cached_property
    def spectrum(self) -> Array:
        """Eigenvalues of the affinity gap."""
        return gap_spectrum(self.student, self.teacher)

    @cached_property
    def mu(self) -> float:
        """μ = ‖A‖_F²."""
        return float((self.spectrum**2).sum())

    @property
    def effective_rank(self) -> float:
        """Effective rank ρ of the gap."""
        return effective_rank(self.spectrum)

    @property
    def has_gap(self) -> bool:
        """Whether the affinities differ by more than their rounding, some (N + 2C)u an entry."""
        terms = self.n + 2 * (len(self.student) + len(self.teacher))
        rounding = 64 * terms * float(np.finfo(np.float64).eps)
        return bool(np.sqrt(self.mu) / self.n > rounding)


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
        Probability with which the check of one true claim on one case fails.
    k : int
        Probes of each estimate.
    """

    rng: np.random.Generator
    replications: int
    false_alarm: float
    k: int


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
        What rounding, or chance at the stated false-alarm rate, may add.
    """

    measured: float
    claimed: float
    relation: Relation
    allowance: float

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
    def strain(self) -> float:
        """Excess over allowance: the larger, the closer to failing; above 1 the claim fails."""
        if self.allowance > 0:
            return self.excess / self.allowance
        return 0.0 if self.holds else np.inf


@dataclass(frozen=True)
class Claim:
    """One statement of the theory and the check that can refute it.

    Attributes
    ----------
    id : str
        Its id in the mathematics, as "P2".
    statement : str
        One sentence.
    source : str
        Where it comes from.
    method : str
        How it is checked: "identity", "exact law" or "replication".
    check : callable (Case, Sampling) -> Evidence
    """

    id: str
    statement: str
    source: str
    method: Literal["identity", "exact law", "replication"]
    check: Check
