"""The report as one page for a browser, with its formulas and figures inside."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from faqd_math.claims import Case, Report, Subject, Verdict
from faqd_math.reports.document import summary
from faqd_math.reports.figures import (
    PROBES,
    bound_tightness,
    formula,
    p_values,
    stochastic,
    tails,
    tightness,
)
from faqd_math.scripts import split_scripts

_TITLE = "The error estimates of feature affinity, checked"
_COLUMNS = (
    "claim",
    "verdict",
    "statement, and where it is strained most",
    "method",
    "measured",
    "claimed",
    "allowance",
    "margin",
    "tightness",
    "p-value",
    "detectable",
)


def report_page(report: Report, subjects: Sequence[Subject]) -> str:
    """Lay the report out as an HTML page that loads nothing and is equal for equal reports.

    Parameters
    ----------
    report : Report
        From `faqd_math.claims.verify`.
    subjects : sequence of Case, Batch, Weights, Standalone
        What it was made on; the figure of the tails takes its first cases.

    Returns
    -------
    str
        The page. A formula that Matplotlib cannot draw stands there as TeX.
    """
    body = "\n".join(
        [
            f"<h1>{_TITLE}</h1>",
            _summary(report),
            "<h2>Verdicts</h2>",
            _table(report),
            *_figures(report, [s for s in subjects if isinstance(s, Case)]),
            "<h2>The claims</h2>",
            *(_explanation(verdict) for verdict in report.verdicts),
        ]
    )
    style = files("faqd_math.reports").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_TITLE}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _summary(report: Report) -> str:
    kind = "fails" if report.failing else "holds"
    return f'<p class="summary {kind}">{escape(summary(report))}</p>'


def _table(report: Report) -> str:
    head = "".join(f'<th scope="col">{column}</th>' for column in _COLUMNS)
    rows = "\n".join(_row(verdict) for verdict in report.verdicts)
    table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"
    return (
        "<p>The numbers of a claim are those of the subject that strains it most. Allowance: what "
        "rounding, or chance, may add. Margin: how much farther off the measured value might have "
        "been. Tightness: the share of a bound that is reached. Detectable: the deviation that a "
        "check by replication finds nine times in ten.</p>\n" + _scrolling(table, "Verdicts")
    )


def _row(verdict: Verdict) -> str:
    claim, hardest = verdict.claim, verdict.hardest
    evidence = verdict.evidence[hardest]
    kind = "holds" if verdict.holds else "fails"
    numbers = [
        f"{evidence.measured:.3g}",
        f"{evidence.relation.replace('<=', '≤')} {evidence.claimed:.3g}",
        *(
            "" if number is None else f"{number:.2g}"
            for number in (
                evidence.allowance,
                evidence.margin,
                evidence.tightness,
                evidence.p_value,
                evidence.detectable,
            )
        ),
    ]
    return (
        f'<tr class="{kind}"><th scope="row"><a href="#{claim.id}">{claim.id}</a></th>'
        f"<td>{'holds' if verdict.holds else 'FAILS'}</td>"
        f"<td>{typeset(claim.statement.sentence)}<br>"
        f"<small>{escape(verdict.names[hardest])}</small></td><td>{claim.method}</td>"
        f"{''.join(f'<td>{number}</td>' for number in numbers)}</tr>"
    )


def typeset(text: str) -> str:
    """Write a text of a claim as HTML, with its sub- and superscripts.

    Examples
    --------
    >>> typeset("|S_ij| < 2^{b−1}")
    '|S<sub>ij</sub>| &lt; 2<sup>b−1</sup>'
    """
    return "".join(
        escape(piece) if kind == "line" else f"<{kind}>{escape(piece)}</{kind}>"
        for kind, piece in split_scripts(text)
    )


def _formula(tex: str) -> str:
    """Draw a formula above its TeX; where it cannot be drawn the TeX stands alone."""
    source = f"<code>{escape(tex)}</code>"
    try:
        drawing = _image(formula(tex), tex, "formula")
    except ValueError:
        return source
    return f"{_scrolling(drawing, 'Formula')}{source}"


def _scrolling(content: str, label: str) -> str:
    """Let what is wider than the screen scroll by itself, by keys too."""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">\n{content}\n</div>'
    )


def _figures(report: Report, cases: Sequence[Case]) -> list[str]:
    """Lay out the figures for which there is something to draw."""
    parts = []
    if cases:
        parts.append(
            _figure(
                "Tail bounds and the exact law",
                tails(cases),
                f"Failure probability against relative error, {PROBES} gaussian probes: the exact "
                f"law and the bounds B1 to B9, for samples from the smallest to the largest "
                f"effective rank ρ.",
            )
        )
    if bound_tightness(report):
        parts.append(
            _figure(
                "Tightness of the bounds",
                tightness(report),
                "Measured value over its upper bound, one mark a sample, by claim and pair of "
                "maps: 1 is tight, above 1 a bound is broken.",
            )
        )
    if stochastic(report):
        parts.append(
            _figure(
                "P-values of the checks by replication",
                p_values(report),
                "Ordered p-values against uniform quantiles. Those of true equalities lie along "
                "the line, those of bounds that are not tight above it. Below Holm's first limit "
                "a claim fails.",
            )
        )
    return parts


def _figure(title: str, drawing: bytes, caption: str) -> str:
    picture = _image(drawing, f"{title}. {caption}", "plot")
    return (
        f"<h2>{title}</h2>\n<figure>\n{_scrolling(picture, title)}\n"
        f"<figcaption>{caption}</figcaption>\n</figure>"
    )


def _image(drawing: bytes, alt: str, kind: str) -> str:
    data = b64encode(drawing).decode("ascii")
    return f'<img class="{kind}" alt="{escape(alt)}" src="data:image/svg+xml;base64,{data}">'


def _explanation(verdict: Verdict) -> str:
    claim, said = verdict.claim, verdict.claim.statement
    parts = {
        "Formula": _formula(said.tex),
        "Assumptions": typeset(said.assumptions),
        "Proof sketch": typeset(said.proof),
        "Source": typeset(said.source),
    }
    entries = "".join(f"<dt>{title}</dt><dd>{text}</dd>" for title, text in parts.items())
    # Browsers open what holds the target of a link: the id is inside of it.
    return (
        f"<details><summary><b>{claim.id}</b> {typeset(said.sentence)}</summary>"
        f'<dl id="{claim.id}">{entries}</dl></details>'
    )
