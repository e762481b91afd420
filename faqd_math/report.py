"""The verdicts as a table for the terminal and as plain data for a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from faqd_math.claims import Evidence, Verdict


def verdict_table(verdicts: Sequence[Verdict], *, title: str | None = None) -> Table:
    """Lay out one row a claim: its statement, what was measured and claimed, and the verdict.

    Measured and claimed are those of the case that strains the claim most, named in the
    statement's second line. Fits 80 columns.
    """
    table = Table(title=title, title_justify="left", pad_edge=False, box=box.SIMPLE_HEAD)
    table.add_column("claim", no_wrap=True)
    table.add_column("statement, and where it is strained most")
    table.add_column("measured", justify="right", no_wrap=True)
    table.add_column("claimed", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for verdict in verdicts:
        claim, evidence = verdict.claim, verdict.evidence
        table.add_row(
            claim.id,
            Text.assemble(f"{claim.statement}\n", (verdict.case, "dim")),
            f"{evidence.measured:.3g}",
            _claimed(evidence),
            "[green]holds[/]" if verdict.holds else "[bold red]FAILS[/]",
        )
    return table


def verdict_records(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Give the verdicts as plain data, ready for JSON."""
    return [
        {
            "claim": verdict.claim.id,
            "statement": verdict.claim.statement,
            "source": verdict.claim.source,
            "method": verdict.claim.method,
            "case": verdict.case,
            "measured": verdict.evidence.measured,
            "relation": verdict.evidence.relation,
            "claimed": verdict.evidence.claimed,
            "allowance": verdict.evidence.allowance,
            "holds": verdict.holds,
        }
        for verdict in verdicts
    ]


def _claimed(evidence: Evidence) -> str:
    sign = {"=": "=", "<=": "≤"}[evidence.relation]
    slack = f" ± {evidence.allowance:.1g}" if evidence.relation == "=" else ""
    return f"{sign} {evidence.claimed:.3g}{slack}"
