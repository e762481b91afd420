"""Tables of the claims and their verdicts, and of the audit of the released code."""

from __future__ import annotations

from analysis.rendering.product import Product, Result
from analysis.rendering.tables import Row

RECORD = "claims/standard"


def claims(result: Result) -> list[Row]:
    """Give each claim, what was measured where it is strained most, and the verdict."""
    return [
        {
            "claim": claim["claim"],
            "statement": claim["statement"],
            "measured": float(claim["check"]["measured"]),
            "claimed": f"{claim['check']['relation']} {claim['check']['claimed']:.4g}".replace(
                "<=", "≤"
            ),
            "checks": claim["checks"],
            "verdict": "holds" if claim["holds"] else "FAILS",
        }
        for claim in result["claims"]
    ]


def audit(result: Result) -> list[Row]:
    """Give the claims about the released code."""
    return [row for row in claims(result) if str(row["claim"]).startswith("R")]


PRODUCTS = (
    Product(
        name="claims",
        needs=RECORD,
        text="Every claim on maps of known character: measured and claimed where it is strained "
        "most, of so many checks.",
        rows=claims,
    ),
    Product(
        name="audit",
        needs=RECORD,
        text="The audit of the released code: each defect re-enacted; the verdict is on the claim "
        "that it is there.",
        rows=audit,
    ),
)
