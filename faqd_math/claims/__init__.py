"""The registry of claims, and `verify`, which checks them on given feature maps and weights."""

from __future__ import annotations

from faqd_math.claims.audit import AUDIT
from faqd_math.claims.costs import COSTS
from faqd_math.claims.estimators import ESTIMATORS
from faqd_math.claims.evidence import Claim, Evidence, Sampling
from faqd_math.claims.floating_point import FLOATING_POINT
from faqd_math.claims.identities import IDENTITIES
from faqd_math.claims.moments import MOMENTS
from faqd_math.claims.quantizers import QUANTIZERS
from faqd_math.claims.subjects import (
    Batch,
    Case,
    Standalone,
    Subject,
    Weights,
    cases_from_pairs,
    verification_subjects,
)
from faqd_math.claims.tails import TAILS
from faqd_math.claims.verification import Report, Verdict, verify

CLAIMS: tuple[Claim, ...] = (
    *IDENTITIES,
    *MOMENTS,
    *TAILS,
    *QUANTIZERS,
    *AUDIT,
    *ESTIMATORS,
    *COSTS,
    *FLOATING_POINT,
)


def find_claim(claim_id: str) -> Claim:
    """Return the claim with this id, in letters of either case.

    Raises
    ------
    ValueError
        If there is none.
    """
    for claim in CLAIMS:
        if claim.id.casefold() == claim_id.casefold():
            return claim
    raise ValueError(
        f"claim {claim_id!r} is unknown; an id as {CLAIMS[0].id} is accepted: faqd-math explain "
        f"lists them all."
    )


__all__ = [
    "CLAIMS",
    "Batch",
    "Case",
    "Claim",
    "Evidence",
    "Report",
    "Sampling",
    "Standalone",
    "Subject",
    "Verdict",
    "Weights",
    "cases_from_pairs",
    "find_claim",
    "verification_subjects",
    "verify",
]
