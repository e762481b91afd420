"""What claims are checked on: one sample's maps, a batch of them, weights, or nothing given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from faqd_math._validation import Array, check_count
from faqd_math.quantize import check_weights
from faqd_math.spectrum import effective_rank, gap_spectrum, is_rounding


@dataclass(frozen=True, eq=False)
class Case:
    """One sample's maps.

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
        """Whether the affinities differ by more than their rounding."""
        return not is_rounding(self.spectrum, self.n, len(self.student) + len(self.teacher))


@dataclass(frozen=True, eq=False)
class Batch:
    """Cases of one pair of maps together: ``student`` and ``teacher`` are (B, C, H, W)."""

    name: str
    student: Array
    teacher: Array


@dataclass(frozen=True, eq=False)
class Weights:
    """A layer's float weights (n,), for claims on quantizers."""

    name: str
    values: Array


@dataclass(frozen=True, eq=False)
class Standalone:
    """Nothing: for claims that bring their own example, as an optimisation from a fixed start."""

    name: str = "its own example"


Subject = Case | Batch | Weights | Standalone


def cases_from_pairs(pairs: dict[str, tuple[Array, Array]], samples: int = 4) -> list[Case]:
    """Take the first samples of each pair of maps whose affinities differ.

    Parameters
    ----------
    pairs : dict of name to (student, teacher)
        Batches (B, C, H, W), as `faqd_math.claims.feature_files.load_feature_pairs` gives them.
    samples : int
        Cases of each pair.

    Raises
    ------
    ValueError
        If the affinities of a pair agree on every sample: relative errors have no meaning there.
    """
    samples = check_count(samples, "samples")
    cases = []
    for name, (student, teacher) in pairs.items():
        candidates = (Case(f"{name}[{i}]", student[i], teacher[i]) for i in range(len(student)))
        differing = [case for case in candidates if case.has_gap][:samples]
        if not differing:
            raise ValueError(
                f"student and teacher agree on every sample of {name}; a pair with a gap is "
                f"accepted: capture maps of two different networks."
            )
        cases += differing
    return cases


def verification_subjects(
    pairs: dict[str, tuple[Array, Array]],
    weights: dict[str, Array],
    samples: int = 4,
) -> Sequence[Subject]:
    """Gather all that `faqd_math.claims.verify` needs: cases, their batches, weights, nothing.

    Parameters
    ----------
    pairs, samples
        As `cases_from_pairs`, which also says what is refused.
    weights : dict of name to array (n,)
        As `faqd_math.claims.standard_cases.standard_weights` gives them.
    """
    cases = cases_from_pairs(pairs, samples)
    by_pair: dict[str, list[Case]] = {}
    for case in cases:
        by_pair.setdefault(case.name.rpartition("[")[0], []).append(case)
    return [
        *cases,
        *(
            Batch(name, np.stack([c.student for c in one]), np.stack([c.teacher for c in one]))
            for name, one in by_pair.items()
        ),
        *(Weights(name, check_weights(values)) for name, values in weights.items()),
        Standalone(),
    ]
