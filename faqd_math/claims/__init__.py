"""The registry of claims, and `verify`, which checks them all on given feature maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from faqd_math._validation import Array, check_count, check_number, check_rng
from faqd_math.claims.evidence import Case, Claim, Evidence, Sampling
from faqd_math.claims.identities import IDENTITIES
from faqd_math.claims.moments import MOMENTS
from faqd_math.claims.tails import TAILS

CLAIMS: tuple[Claim, ...] = (*IDENTITIES, *MOMENTS, *TAILS)

__all__ = ["CLAIMS", "Case", "Claim", "Evidence", "Verdict", "cases_from_pairs", "verify"]


@dataclass(frozen=True)
class Verdict:
    """A claim with the evidence that strains it most, and the case where that was found."""

    claim: Claim
    case: str
    evidence: Evidence

    @property
    def holds(self) -> bool:
        """Whether the claim held on every case."""
        return self.evidence.holds


def cases_from_pairs(pairs: dict[str, tuple[Array, Array]], samples: int = 4) -> list[Case]:
    """Take the first samples of each pair of maps whose affinities differ.

    Parameters
    ----------
    pairs : dict of name to (student, teacher)
        Batches (B, C, H, W), as `faqd_math.feature_files.load_feature_pairs` gives them.
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


def verify(
    cases: Sequence[Case],
    *,
    rng: np.random.Generator,
    replications: int = 2000,
    k: int = 15,
    false_alarm: float = 1e-3,
) -> Iterator[Verdict]:
    """Check every claim of `CLAIMS` on every case, and yield each one's hardest verdict.

    Parameters
    ----------
    cases : sequence of Case
        From `cases_from_pairs`.
    rng : numpy.random.Generator
        Source of all probes: the same state gives the same verdicts.
    replications, k : int
        Draws of each estimate that is checked by replication, at least 100, and its probes, at
        least 5.
    false_alarm : float
        Probability that any true claim fails by chance, shared out equally over all checks by
        replication (Bonferroni).

    Yields
    ------
    Verdict
        In the order of `CLAIMS`.
    """
    check_rng(rng)
    false_alarm = check_number(
        false_alarm, "false_alarm", above=0, below=1, hint="give a small probability"
    )
    stochastic = sum(claim.method == "replication" for claim in CLAIMS)
    sampling = Sampling(
        rng=rng,
        replications=check_count(replications, "replications", at_least=100),
        false_alarm=false_alarm / (stochastic * len(cases)),
        # P11's estimate has a finite variance from 3 probes on, and a finite fourth moment, which
        # its half-width rests on, from 5.
        k=check_count(k, "k", at_least=5),
    )
    for claim in CLAIMS:
        evidence = [claim.check(case, sampling) for case in cases]
        hardest = max(range(len(cases)), key=lambda i: (not evidence[i].holds, evidence[i].strain))
        yield Verdict(claim, cases[hardest].name, evidence[hardest])
