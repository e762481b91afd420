"""`verify`: every claim on every subject that it speaks of, one false-alarm rate for all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from faqd_math._validation import check_count, check_number, check_rng
from faqd_math.claims.evidence import Claim, Evidence, Sampling
from faqd_math.claims.subjects import Subject


@dataclass(frozen=True)
class Verdict:
    """A claim with the evidence on each subject.

    Attributes
    ----------
    claim : Claim
    names : tuple of str
        The subjects.
    evidence : tuple of Evidence
        One for each subject.
    refused : tuple of bool
        Whether the claim fails there, after Holm's correction where the check is by replication.
    """

    claim: Claim
    names: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    refused: tuple[bool, ...]

    @property
    def holds(self) -> bool:
        """Whether the claim held on every subject."""
        return not any(self.refused)

    @property
    def hardest(self) -> int:
        """Index of the subject that strains the claim most."""
        indices = range(len(self.names))
        return max(indices, key=lambda i: (self.refused[i], self.evidence[i].strain))


@dataclass(frozen=True)
class Report:
    """All verdicts, and the family of checks by replication that shares one false-alarm rate.

    Attributes
    ----------
    verdicts : tuple of Verdict
        In the order of the claims.
    false_alarm : float
        Probability that any true claim fails by chance.
    stochastic_checks : int
        Checks by replication among which it is shared out.
    """

    verdicts: tuple[Verdict, ...]
    false_alarm: float
    stochastic_checks: int

    @property
    def failing(self) -> list[str]:
        """Ids of the claims that fail."""
        return [verdict.claim.id for verdict in self.verdicts if not verdict.holds]


def verify(
    claims: Sequence[Claim],
    subjects: Sequence[Subject],
    *,
    rng: np.random.Generator,
    replications: int = 2000,
    k: int = 15,
    false_alarm: float = 1e-3,
    among: Sequence[Claim] | None = None,
    progress: Callable[[Sequence[Claim]], Iterable[Claim]] = iter,
) -> Report:
    """Check each claim on every subject of its kind.

    Parameters
    ----------
    claims : sequence of Claim
        `faqd_math.claims.CLAIMS`, or some of them.
    subjects : sequence of Case, Batch, Weights, Standalone
        From `faqd_math.claims.verification_subjects`.
    rng : numpy.random.Generator
        Seeds all random numbers. Those of a claim on a subject depend on its state, the claim's id
        and the subject's name alone.
    replications, k : int
        Draws of each estimate that is checked by replication, at least 100, and its probes, at
        least 5.
    false_alarm : float
        Probability that any true claim fails by chance: the checks by replication are judged
        together, by Holm's step-down procedure (Holm 1979), which needs no independence.
    among : sequence of Claim, optional
        Claims that share ``false_alarm``, by default those checked. With the registry here, some
        of its claims get the numbers that they have in the report of all.
    progress : callable
        Wraps the claims, as `rich.progress.track` does.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or a claim has no subject of its kind.
    """
    entropy = tuple(check_rng(rng).integers(2**32, size=4).tolist())
    false_alarm = check_number(
        false_alarm, "false_alarm", above=0, below=1, hint="give a small probability"
    )
    of_claim = {claim.id: [s for s in subjects if isinstance(s, claim.on)] for claim in claims}
    for claim in claims:
        if not of_claim[claim.id]:
            raise ValueError(
                f"{claim.id} has no subject; at least one {claim.on.__name__} is accepted: "
                f"gather the subjects by verification_subjects."
            )
    family = sum(
        isinstance(subject, claim.on)
        for claim in among or claims
        if claim.method == "replication"
        for subject in subjects
    )
    sampling = Sampling(
        entropy=entropy,
        replications=check_count(replications, "replications", at_least=100),
        false_alarm=false_alarm / max(family, 1),
        # P11's estimate has a finite variance from 3 probes on, and a finite fourth moment, which
        # its half-width rests on, from 5.
        k=check_count(k, "k", at_least=5),
    )
    found = {
        claim.id: [
            claim.check(subject, sampling.of(claim.id, subject)) for subject in of_claim[claim.id]
        ]
        for claim in progress(claims)
    }
    p_values = [e.p_value for c in claims for e in found[c.id] if e.p_value is not None]
    limit = holm_limit(p_values, false_alarm, family)
    verdicts = tuple(
        Verdict(
            claim,
            tuple(subject.name for subject in of_claim[claim.id]),
            tuple(found[claim.id]),
            tuple(
                not e.holds if e.p_value is None else not e.p_value > limit for e in found[claim.id]
            ),
        )
        for claim in claims
    )
    return Report(verdicts, false_alarm, family)


def holm_limit(p_values: Sequence[float], false_alarm: float, family: int) -> float:
    """Return the p-value up to which Holm's procedure refuses; negative if it refuses none.

    The p-values are all or some of a family's; those of some are refused only if they would be
    whatever the others are.

    Examples
    --------
    Of three, the second is refused at half the rate once the first is at a third:

    >>> holm_limit([0.02, 0.3, 0.01], 0.05, 3)
    0.02
    """
    limit = -1.0
    for rank, p_value in enumerate(sorted(p_values)):
        if not p_value <= false_alarm / (family - rank):
            break
        limit = p_value
    return limit
