"""What was found, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

from rich import box
from rich.table import Table

from faqd_math.conformance.run import Finding, detectable_bias


def findings_table(findings: Sequence[Finding]) -> Table:
    """Lay out one row for each property. Fits 80 columns."""
    table = Table(pad_edge=False, box=box.SIMPLE_HEAD)
    table.add_column("id", no_wrap=True)
    table.add_column("property", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for finding in findings:
        verdict = "[green]holds[/]" if finding.holds else "[bold red]FAILS[/]"
        table.add_row(finding.checked.id, finding.checked.sentence, verdict)
    return table


def summary(findings: Sequence[Finding], target: str, replications: int) -> str:
    """Say what fails, and how small a bias would have been found."""
    failing = [finding.checked.id for finding in findings if not finding.holds]
    if failing:
        said = f"{len(failing)} of {len(findings)} properties of {target} fail:\n"
        said += fill(f"{', '.join(failing)}.", 80)
    else:
        said = f"All {len(findings)} properties of {target} hold."
    if any("replications" in finding.checked.options for finding in findings):
        bias = detectable_bias(replications, findings[0].conventions.k)
        said += (
            f"\nMeans are over {replications:,} calls: by chance one true property of a million "
            f"fails,\nand a bias of {bias:.1%} of FA is found nine times in ten."
        )
    return said
