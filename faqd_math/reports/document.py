"""The report as a table for the terminal and as plain data for a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from faqd_math.claims import Case, Claim, Evidence, Report, Verdict
from faqd_math.reports.provenance import Provenance


def verdict_table(report: Report, *, title: str | None = None) -> Table:
    """Lay out one row for each claim: statement, measured and claimed value, verdict.

    Measured and claimed are those of the subject that strains the claim most, named in the
    statement's second line. Fits 80 columns.
    """
    table = Table(title=title, title_justify="left", pad_edge=False, box=box.SIMPLE_HEAD)
    table.add_column("claim", no_wrap=True)
    table.add_column("statement, and where it is strained most")
    table.add_column("measured", justify="right", no_wrap=True)
    table.add_column("claimed", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for verdict in report.verdicts:
        claim, hardest = verdict.claim, verdict.hardest
        evidence = verdict.evidence[hardest]
        table.add_row(
            claim.id,
            Text.assemble(f"{claim.statement.sentence}\n", (verdict.names[hardest], "dim")),
            f"{evidence.measured:.3g}",
            _claimed(evidence),
            "[green]holds[/]" if verdict.holds else "[bold red]FAILS[/]",
        )
    return table


def summary(report: Report) -> str:
    """Say in two sentences what the report found, and at which false-alarm rate."""
    names = {n for v in report.verdicts if v.claim.on is Case for n in v.names}
    total, where = len(report.verdicts), f"on {len(names)} pairs of feature maps"
    if report.failing:
        first = f"{len(report.failing)} of {total} claims fail {where}: "
        first += f"{', '.join(report.failing)}."
    else:
        first = f"All {total} claims hold {where}."
    return (
        f"{first}\nBy chance, one true claim or more fails in one of "
        f"{1 / report.false_alarm:,.0f} reports: {report.stochastic_checks} checks by "
        f"replication share that rate (Holm)."
    )


def report_record(report: Report, made: Provenance) -> dict[str, Any]:
    """Give the report and what it was made with as plain data, ready for JSON."""
    return {
        "schema": 2,
        **asdict(made),
        "false_alarm": report.false_alarm,
        "stochastic_checks": report.stochastic_checks,
        "failing": report.failing,
        "claims": [verdict_record(verdict) for verdict in report.verdicts],
    }


def verdict_record(verdict: Verdict) -> dict[str, Any]:
    """Give a claim, its verdict and its checks on all subjects as plain data."""
    said = verdict.claim.statement
    return {
        "claim": verdict.claim.id,
        "statement": said.sentence,
        "source": said.source,
        "method": verdict.claim.method,
        "holds": verdict.holds,
        "hardest": verdict.names[verdict.hardest],
        "checks": [
            {
                "subject": name,
                **asdict(evidence),
                "margin": evidence.margin,
                "tightness": evidence.tightness,
                "holds": not refused,
            }
            for name, evidence, refused in zip(
                verdict.names, verdict.evidence, verdict.refused, strict=True
            )
        ],
    }


def claim_context(claim: Claim, holds: bool, check: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a page shows of a claim: its texts, its verdict, and numbers as they are written.

    Parameters
    ----------
    claim : Claim
    holds : bool
        Whether it holds on all its subjects.
    check : mapping
        Of its checks, as `verdict_record` gives them and a report's JSON holds them, the hardest.

    Returns
    -------
    dict
        The fields of `Statement`; ``id``, ``method``, ``holds``, ``verdict``, ``subject``; and as
        text ``measured``, ``claimed`` with its relation, ``allowance``, ``margin``, and, empty
        where the check has none, ``tightness``, ``p_value`` and ``detectable``.
    """
    numbers = ("allowance", "margin", "tightness", "p_value", "detectable")
    return {
        **asdict(claim.statement),
        "id": claim.id,
        "method": claim.method,
        "holds": holds,
        "verdict": "holds" if holds else "FAILS",
        "subject": check["subject"],
        "measured": f"{check['measured']:.3g}",
        "claimed": f"{_SIGNS[check['relation']]} {check['claimed']:.3g}",
        **{name: "" if check[name] is None else f"{check[name]:.2g}" for name in numbers},
    }


_SIGNS = {"=": "=", "<=": "≤"}


def _claimed(evidence: Evidence) -> str:
    slack = f" ± {evidence.allowance:.1g}" if evidence.relation == "=" else ""
    return f"{_SIGNS[evidence.relation]} {evidence.claimed:.3g}{slack}"
