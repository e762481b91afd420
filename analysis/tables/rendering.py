"""Rows of a table as CSV, Markdown and LaTeX (booktabs)."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from analysis.figures.drawing import Records, Row

NOT_RUN = "not run"
_LATEX = {
    "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "±": r"$\pm$", "≤": r"$\le$", "√": r"$\sqrt{}$",
    "ε": r"$\varepsilon$", "δ": r"$\delta$", "ρ": r"$\rho$", "·": r"$\cdot$", "σ": r"$\sigma$",
    "μ": r"$\mu$", "λ": r"$\lambda$", "∞": r"$\infty$", "≥": r"$\ge$", "−": "$-$", "‖": r"$\|$",
    "²": r"$^2$", "×": r"$\times$", "Σ": r"$\Sigma$", "π": r"$\pi$", "≈": r"$\approx$",
    "∂": r"$\partial$", "ᵀ": r"$^\top$", "χ": r"$\chi$", "³": "$^3$", "⁶": "$^6$", "₁": "$_1$",
    "₂": "$_2$", "₄": "$_4$", "¾": "3/4", "Ĝ": r"$\hat{G}$",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """One table: what it needs, its caption and its rows.

    Attributes
    ----------
    name : str
        Of its files.
    needs : tuple of str
        Names of records, or patterns that one record or more must match.
    caption : str
    rows : callable
        Gives the rows of the CSV.
    shown : callable, optional
        Gives those of Markdown and LaTeX, if they are laid out in another way.
    fills : bool
        Whether the table is made without its records too, and says where they lack.
    files : tuple of Path
        What it reads beside records.
    """

    name: str
    needs: tuple[str, ...]
    caption: str
    rows: Callable[[Records], list[Row]]
    shown: Callable[[Records], list[Row]] | None = None
    fills: bool = False
    files: tuple[Path, ...] = ()


def to_files(table: Table, records: Records) -> dict[str, bytes]:
    """Write a table in its three forms, by suffix."""
    rows = table.rows(records)
    shown = table.shown(records) if table.shown else rows
    texts = {
        "csv": to_csv(rows),
        "md": to_markdown(shown, table.caption),
        "tex": to_latex(shown, table.caption, label=table.name),
    }
    return {suffix: text.encode() for suffix, text in texts.items()}


def not_run(name: str, missing: Sequence[str]) -> dict[str, bytes]:
    """Write in a table's place which records it lacks."""
    rows: list[Row] = [{"table": name, "state": NOT_RUN, "missing": record} for record in missing]
    caption = f"{name}: {NOT_RUN}, as records are missing."
    texts = {
        "csv": to_csv(rows),
        "md": to_markdown(rows, caption),
        "tex": to_latex(rows, caption, label=name),
    }
    return {suffix: text.encode() for suffix, text in texts.items()}


def to_csv(rows: Sequence[Mapping[str, object]]) -> str:
    """Write rows with six digits; None is an empty cell.

    Examples
    --------
    >>> print(to_csv([{"k": 15, "error": 0.1234567}, {"k": 16, "error": None}]), end="")
    k,error
    15,0.123457
    16,
    """
    file = StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows([_cell(value, "{:.6g}") for value in row.values()] for row in rows)
    return file.getvalue()


def to_markdown(rows: Sequence[Mapping[str, object]], caption: str) -> str:
    """Write a caption and a pipe table."""
    lines = [
        list(rows[0]),
        ["---"] * len(rows[0]),
        *([_cell(value, "{:.4g}") for value in row.values()] for row in rows),
    ]
    body = "\n".join(
        "| " + " | ".join(c.replace("|", r"\|") for c in line) + " |" for line in lines
    )
    return f"{caption}\n\n{body}\n"


def to_latex(rows: Sequence[Mapping[str, object]], caption: str, *, label: str) -> str:
    """Write a table environment that needs booktabs and nothing else."""
    heading = " & ".join(_escaped(name) for name in rows[0])
    body = [
        " & ".join(_escaped(_cell(value, "{:.4g}")) for value in row.values()) + r" \\"
        for row in rows
    ]
    lines = [
        r"\begin{table*}",
        r"\centering\footnotesize",
        rf"\caption{{{_escaped(caption)}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{'l' * len(rows[0])}}}",
        r"\toprule",
        rf"{heading} \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _cell(value: object, number: str) -> str:
    if value is None:
        return ""
    return number.format(value) if isinstance(value, float) else str(value)


def _escaped(text: str) -> str:
    letters = "".join(_LATEX.get(character, character) for character in text)
    return re.sub("(.)\N{COMBINING CIRCUMFLEX ACCENT}", r"$\\hat{\1}$", letters)
