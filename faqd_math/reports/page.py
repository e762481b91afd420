"""The report as one page for a browser, with its formulas and figures inside."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from faqd_math.claims import Case, Report, Subject, Verdict
from faqd_math.reports.document import claim_context, summary, verdict_record
from faqd_math.reports.figures import (
    PROBES,
    bound_tightness,
    formula,
    p_values,
    stochastic,
    tails,
    tightness,
)
from faqd_math.reports.provenance import Provenance
from faqd_math.reports.scripts import split_scripts

# Of a claim's context, in the table after its statement.
_COLUMNS = {
    "method": "method",
    "measured": "measured",
    "claimed": "claimed",
    "allowance": "allowance",
    "margin": "margin",
    "tightness": "tightness",
    "p_value": "p-value",
    "detectable": "detectable",
}


def report_page(report: Report, subjects: Sequence[Subject], made: Provenance | None = None) -> str:
    """Lay the report out as an HTML page that loads nothing and is equal for equal reports.

    Parameters
    ----------
    report : Report
        From `faqd_math.claims.verify`.
    subjects : sequence of Case, Batch, Weights, Standalone
        What it was made on; the figure of the tails takes its first cases.
    made : Provenance, optional
        What it was made with.

    Returns
    -------
    str
        The page. Of a formula that Matplotlib cannot draw it shows the TeX only.
    """
    environment = Environment(
        loader=PackageLoader("faqd_math.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["scripts"] = split_scripts
    environment.filters["base64"] = lambda content: b64encode(content).decode("ascii")
    return environment.get_template("report.html.jinja").render(
        title="The error estimates of feature affinity, checked",
        summary=summary(report),
        failing=report.failing,
        made=made,
        columns=_COLUMNS,
        claims=[_claim(verdict) for verdict in report.verdicts],
        figures=list(_figures(report, [s for s in subjects if isinstance(s, Case)])),
    )


def _claim(verdict: Verdict) -> dict[str, Any]:
    """Describe a claim, with its formula as SVG; None where Matplotlib cannot draw it."""
    record = verdict_record(verdict)
    context = claim_context(verdict.claim, record["holds"], record["checks"][verdict.hardest])
    try:
        return context | {"drawing": formula(context["tex"])}
    except ValueError:
        return context | {"drawing": None}


def _figures(report: Report, cases: Sequence[Case]) -> Iterator[dict[str, Any]]:
    """Draw the figures for which there is something to draw."""
    if cases:
        yield {
            "title": "Tail bounds and the exact law",
            "svg": tails(cases),
            "caption": f"Failure probability against relative error, {PROBES} gaussian probes: the "
            f"exact law and the bounds on it, for samples from the smallest to the largest "
            f"effective rank ρ.",
        }
    if bound_tightness(report):
        yield {
            "title": "Tightness of the bounds",
            "svg": tightness(report),
            "caption": "Measured value over its upper bound, one mark for each sample, by claim "
            "and pair of maps: 1 is tight, above 1 a bound is broken.",
        }
    if stochastic(report):
        yield {
            "title": "P-values of the checks by replication",
            "svg": p_values(report),
            "caption": "Ordered p-values against uniform quantiles. Those of true equalities lie "
            "along the line, those of bounds that are not tight above it. Below Holm's first "
            "limit a claim fails.",
        }
