"""Rows of a table as CSV, Markdown and LaTeX (booktabs)."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

Row = Mapping[str, Any]
NOT_RUN = "not run"
_LATEX = {
    "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "±": r"$\pm$", "≤": r"$\le$", "√": r"$\sqrt{}$",
    "ε": r"$\varepsilon$", "δ": r"$\delta$", "ρ": r"$\rho$", "·": r"$\cdot$", "σ": r"$\sigma$",
    "μ": r"$\mu$", "λ": r"$\lambda$", "∞": r"$\infty$", "≥": r"$\ge$", "−": "$-$", "‖": r"$\|$",
    "²": r"$^2$", "×": r"$\times$", "Σ": r"$\Sigma$", "π": r"$\pi$", "≈": r"$\approx$",
    "∂": r"$\partial$", "ᵀ": r"$^\top$", "χ": r"$\chi$", "³": "$^3$", "⁶": "$^6$", "₁": "$_1$",
    "₂": "$_2$", "₄": "$_4$", "¾": "3/4", "Ĝ": r"$\hat{G}$",
}  # fmt: skip


def to_csv(rows: Sequence[Row]) -> str:
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


def to_markdown(rows: Sequence[Row], caption: str, note: str = "") -> str:
    """Write a caption, a pipe table, and a line below it."""
    lines = [
        list(rows[0]),
        ["---"] * len(rows[0]),
        *([_cell(value, "{:.4g}") for value in row.values()] for row in rows),
    ]
    body = "\n".join(
        "| " + " | ".join(c.replace("|", r"\|") for c in line) + " |" for line in lines
    )
    return f"{caption}\n\n{body}\n" + (f"\n{note}\n" if note else "")


def to_latex(rows: Sequence[Row], caption: str, *, label: str, note: str = "") -> str:
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
        *([r"\par\smallskip", _escaped(note)] if note else []),
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
