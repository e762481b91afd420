"""The companion's pages that are made: claims with their verdicts, and how to reproduce."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from analysis.records.store import Record, Records
from analysis.rendering.product import Product
from analysis.rendering.tables import NOT_RUN
from faqd_math.claims import Claim
from faqd_math.reports.scripts import split_scripts

GROUPS: Mapping[str, str] = {
    "I": "Identities",
    "P": "Moments",
    "L": "The exact law",
    "B": "Tail bounds",
    "E": "Other estimators",
    "C": "Cost",
    "F": "Floating point",
    "Q": "Quantizers",
    "R": "The audit of the released code",
}
CIFAR = "CIFAR='--run runs/cifar10-fa --weights runs/cifar10-float/weights.safetensors'"
WIDTH = "560px"  # of a figure, where the screen has as much


def claims_page(claims: Sequence[Claim], record: Record) -> str:
    """Lay out each claim in words and formula, with its proof and the verdict recorded.

    Parameters
    ----------
    claims : sequence of Claim
        As registered; a claim of no group in `GROUPS` is a KeyError.
    record : Record
        Of kind "claims"; a claim that it lacks, or has in other words, is said to be not run.

    Returns
    -------
    str
        MyST Markdown, with a target ``claim-ID`` for each claim.
    """
    recorded = {
        (verdict["claim"], verdict["statement"]): verdict for verdict in record.result["claims"]
    }
    verdicts = {claim.id: recorded.get((claim.id, claim.statement.sentence)) for claim in claims}
    groups: dict[str, list[Claim]] = {title: [] for title in GROUPS.values()}
    for claim in claims:
        groups[GROUPS[claim.id[0]]].append(claim)
    holding = sum(verdict is not None and verdict["holds"] for verdict in verdicts.values())
    parts = [
        "# Claims and verdicts",
        f"{holding} of {len(claims)} claims hold, checked by `{record.command}`. Checks by "
        f"replication are judged together: all pass with probability "
        f"{1 - record.result['false_alarm']:g} or more if all claims are true. A verdict gives "
        f"the numbers of the check that strains its claim most, with the allowance for rounding "
        f"or chance, and names its subject: `low rank[3]` is sample 3 of the maps of low rank.",
    ]
    for title, members in groups.items():
        parts.append(f"## {title}")
        parts += [_claim(claim, verdicts[claim.id]) for claim in members]
    return "\n\n".join(parts) + "\n"


def reproduce_page(
    products: Mapping[str, Product], manifest: Mapping[str, Any], records: Records
) -> str:
    """Lay out each figure and table with the one command that makes it, and what it is made from.

    Parameters
    ----------
    products : mapping
        Figures and tables by name.
    manifest : mapping
        Of ``paper_figures``: by product, its files, command, records and seeds.
    records : mapping
        All records by name.

    Returns
    -------
    str
        MyST Markdown; its files are those of the folder ``figures`` beside it.
    """
    parts = [
        "# Reproduce",
        "Commands run in the repository's folder; after `make demo` they are in `.venv/bin`.",
        "All figures and tables, from the records:",
        _shell("make figures"),
        "All, after recomputing the records: without the variable, those that start from maps or "
        "weights of CIFAR-10 stay as they are, and the others take about an hour on a CPU:",
        _shell(f"make figures-fresh {CIFAR}"),
        "These pages:",
        _shell("make companion"),
        "## Figures and tables",
        *(_product(product, manifest["products"][name]) for name, product in products.items()),
        "## Records",
        _records(records),
    ]
    return "\n\n".join(parts) + "\n"


def _image(path: str, text: str) -> str:
    """Show an image with its alternative text."""
    return (
        f"```{{image}} {path}\n:alt: {json.dumps(text, ensure_ascii=False)}\n:width: {WIDTH}\n```"
    )


def with_references(text: str) -> str:
    r"""Set a page's sub- and superscripts; lead from ids in the first column to their claims.

    Examples
    --------
    >>> print(with_references("| I1, P6B | S_ii = `a_b` |"))
    | {ref}`I1 <claim-I1>`, {ref}`P6B <claim-P6B>` | S{sub}`ii` = `a_b` |
    """
    code = re.split(r"(`[^`]*`)", text)
    code[::2] = [_scripted(prose) for prose in code[::2]]
    return re.sub(r"^\| [A-Z]\d[^|]*", _references, "".join(code), flags=re.MULTILINE)


def _references(cell: re.Match[str]) -> str:
    return re.sub(r"[A-Z]\d+B?", r"{ref}`\g<0> <claim-\g<0>>`", cell[0])


def plain(text: str) -> str:
    r"""Keep Markdown from reading anything but sub- and superscripts into a text.

    Examples
    --------
    >>> print(plain("|S_ij| ≤ 1"))
    \|S{sub}`ij`\| ≤ 1
    """
    return _scripted(text, escape=lambda piece: re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", piece))


def _scripted(text: str, escape: Callable[[str], str] = str) -> str:
    return "".join(
        escape(piece) if kind == "line" else f"{{{kind}}}`{piece}`"
        for kind, piece in split_scripts(text)
    )


def _claim(claim: Claim, verdict: Mapping[str, Any] | None) -> str:
    statement = claim.statement
    return "\n\n".join(
        [
            f"(claim-{claim.id})=",
            f"### {claim.id}. {plain(statement.sentence)}",
            f"$$\n{statement.tex}\n$$",
            _verdict(verdict),
            f"**Assumptions:** {plain(statement.assumptions)}",
            f"**Proof:** {plain(statement.proof)}",
            f"**Source:** {plain(statement.source)}",
        ]
    )


def _verdict(verdict: Mapping[str, Any] | None) -> str:
    if verdict is None:
        return _marked("not-run", f"**{NOT_RUN}**")
    check, holds = verdict["check"], verdict["holds"]
    bound = "≤ " if check["relation"] == "<=" else ""
    numbers = f"measured {_number(check['measured'], 4)}, claimed {bound}"
    numbers += _number(check["claimed"], 4)
    if check["allowance"]:
        numbers += f", allowance {_number(check['allowance'], 2)}"
    if check["p_value"] is not None:
        numbers += f", p-value {_number(check['p_value'], 2)}"
    count = f"{verdict['checks']} check{'s' * (verdict['checks'] != 1)}"
    text = (
        f"**{'holds' if holds else 'FAILS'}** in {count} ({verdict['method']}); strained most by "
        f"{plain(check['subject'])}: {numbers}"
    )
    return _marked("holds" if holds else "fails", text)


def _number(value: float, digits: int) -> str:
    """Write a number; lines break at a hyphen, not at a minus sign."""
    return f"{value:.{digits}g}".replace("-", "\N{MINUS SIGN}")


def _marked(kind: str, text: str) -> str:
    return f":::{{container}} verdict {kind}\n{text}\n:::"


def _product(product: Product, made: Mapping[str, Any]) -> str:
    if product.is_figure:
        about = _image(f"figures/{product.name}.png", product.text)
    else:
        about = plain(product.text)
    files = ", ".join(
        f"{{download}}`{file.rpartition('.')[2]} <figures/{file}>`" for file in made["files"]
    )
    sources = ", ".join(f"`{name}`" for name in made["records"]) or "no record"
    if made["missing"]:
        sources += f"; {NOT_RUN}: " + ", ".join(f"`{name}`" for name in made["missing"])
    return "\n\n".join(
        [
            f"### {product.name}",
            _shell(made["command"]),
            about,
            f"Files: {files}. Seeds: {_listed(made['seeds'])}. Made from {sources}.",
        ]
    )


def _records(records: Records) -> str:
    known = sum(record.revision is not None for record in records.values())
    rows = [
        f"{known} of {len(records)} records name the revision of the code, marked + where files "
        f"differed from it; the others come from a package that lay in no checkout of its own.",
        "",
        "| record | command | seeds | k | replications | version | revision |",
        "|---|---|---|---|---|---|---|",
    ]
    rows += [
        f"| `{name}` | `{record.command}` | {_listed(record.seeds)} | {_listed(record.k)} | "
        f"{record.replications or 'none'} | {record.version} | {_revision(record)} |"
        for name, record in records.items()
    ]
    return "\n".join(rows)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"


def _revision(record: Record) -> str:
    return "unknown" if record.revision is None else record.revision[:10] + "+" * bool(record.dirty)


def _shell(command: str) -> str:
    return f"```sh\n{command}\n```"
