"""Tables of the theory: probes needed by each bound, costs, claims, and the audit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.figures.drawing import Records, Row
from analysis.tables.rendering import Table

ERRORS, COST, CLAIMS = "studies/probe-errors", "studies/cost", "claims/standard"
GROWTH = "studies/complexity"
_PATHS = ("direct", "ffa", "gram")


def probes_needed(records: Records) -> list[Row]:
    """Give the smallest k by the exact law and each bound, for every stage and request."""
    return [
        {
            "stage": tap,
            "N": stage["n"],
            "ρ": round(stage["effective_rank"], 1),
            "ε": asked["epsilon"],
            "δ": asked["delta"],
            **asked["probes"],
        }
        for tap, stage in records[ERRORS].result["stages"].items()
        for asked in stage["needed"]
    ]


def cost(records: Records) -> list[Row]:
    """Give what a sample's loss costs by each path."""
    return [
        {
            "channels": int(channels),
            "pixels": n,
            "path": path,
            "multiply-adds": shape[path]["multiply_adds"][i],
            "milliseconds": 1000 * shape[path]["seconds"][i],
            "kilobytes": shape[path]["bytes"][i] / 1000,
        }
        for channels, shape in records[COST].result["shapes"].items()
        for i, n in enumerate(shape["pixels"])
        for path in _PATHS
    ]


def exponents(records: Records) -> list[Row]:
    """Give the fitted exponents of cost beside those of §4."""
    return [
        {
            "measured": f"{growth['quantity']}, {growth['library']}",
            "path": growth["sweep"]["path"],
            "along": growth["sweep"]["along"],
            "expected": growth["sweep"]["expected"],
            "exponent": round(growth["exponent"]["value"], 3),
            "low": round(growth["exponent"]["low"], 3),
            "high": round(growth["exponent"]["high"], 3),
            "fit from": max(growth["sweep"]["fit_from"], _smallest(growth["sweep"])),
        }
        for growth in records[GROWTH].result["growths"]
    ]


def _smallest(sweep: Mapping[str, Any]) -> int:
    return min(point[sweep["along"]] for point in sweep["points"])


def claims(records: Records) -> list[Row]:
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
        for claim in records[CLAIMS].result["claims"]
    ]


def audit(records: Records) -> list[Row]:
    """Give the claims about the released code."""
    return [row for row in claims(records) if str(row["claim"]).startswith("R")]


TABLES = (
    Table(
        name="probes-needed",
        needs=(ERRORS,),
        caption="Smallest k for a relative error of at most ε but for probability δ: by the exact "
        "law and by each bound, on one image's captured maps.",
        rows=probes_needed,
    ),
    Table(
        name="cost",
        needs=(COST,),
        caption="Cost of one sample's loss of order 2, equal channels, k = 15: multiply-adds, "
        "median time of NumPy on one thread, and arrays held at the peak.",
        rows=cost,
    ),
    Table(
        name="cost-exponents",
        needs=(GROWTH,),
        caption="How cost grows along N, C and k: fitted exponents with 95 % confidence intervals, "
        "beside those expected; fitted from the size named on.",
        rows=exponents,
    ),
    Table(
        name="claims",
        needs=(CLAIMS,),
        caption="Every claim on maps of known character: measured and claimed where it is strained "
        "most, of so many checks.",
        rows=claims,
    ),
    Table(
        name="audit",
        needs=(CLAIMS,),
        caption="The audit of the released code: each defect re-enacted; the verdict is on the "
        "claim "
        "that it is there.",
        rows=audit,
    ),
)
