"""One figure or table: what it needs, how it is made of records, and its files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

from matplotlib.figure import Figure

from analysis.records.store import Records
from analysis.rendering import figures, tables
from analysis.rendering.tables import Row

T = TypeVar("T")


@dataclass(frozen=True)
class Product:
    """One figure or table.

    Attributes
    ----------
    name : str
        Name of its files.
    needs : tuple of str
        Names of records, or patterns that at least one record must match.
    text : str
        A figure's content for those who cannot see it; a table's caption.
    rows : callable
        Gives the numbers that are shown, for the CSV.
    draw : callable, optional
        Makes the figure; a product without it is a table.
    shown : callable, optional
        Gives the rows of Markdown and LaTeX, if these are laid out in another way.
    note : callable, optional
        Gives one line to stand below a table.
    inputs : tuple of Path
        Files that it reads beside the records.
    """

    name: str
    needs: tuple[str, ...]
    text: str
    rows: Callable[[Records], list[Row]]
    draw: Callable[[Records], Figure] | None = None
    shown: Callable[[Records], list[Row]] | None = None
    note: Callable[[Records], str] | None = None
    inputs: tuple[Path, ...] = ()

    @property
    def is_figure(self) -> bool:
        """Whether it is a figure, with its numbers beside it, and not a table."""
        return self.draw is not None

    def choose(self, records: Mapping[str, T]) -> dict[str, T]:
        """Return the records that it needs, by name."""
        return {n: r for n, r in records.items() if any(fnmatchcase(n, p) for p in self.needs)}

    def missing(self, records: Collection[str]) -> list[str]:
        """Return those of its needs that no record matches."""
        return [p for p in self.needs if not any(fnmatchcase(name, p) for name in records)]


def make(product: Product, records: Records) -> dict[str, bytes]:
    """Make a product's files, by suffix; where records are missing they say which."""
    missing, chosen = product.missing(records), product.choose(records)
    if missing:
        rows: list[Row] = [
            {"product": product.name, "state": tables.NOT_RUN, "missing": name} for name in missing
        ]
        caption = f"{product.name}: {tables.NOT_RUN}, as records are missing."
        figure = figures.not_run(product.name, missing) if product.is_figure else None
        return _files(figure, rows, rows, (caption, ""), product.name)
    rows, figure = product.rows(chosen), None
    if product.draw:
        with figures.style():
            figure = product.draw(chosen)
    shown = product.shown(chosen) if product.shown else rows
    note = product.note(chosen) if product.note else ""
    return _files(figure, rows, shown, (product.text, note), product.name)


def _files(
    figure: Figure | None,
    rows: Sequence[Row],
    shown: Sequence[Row],
    words: tuple[str, str],
    name: str,
) -> dict[str, bytes]:
    """Write a figure with its numbers, or a table in its three forms, by suffix."""
    numbers = {"csv": tables.to_csv(rows).encode()}
    if figure is not None:
        return figures.to_bytes(figure) | numbers
    caption, note = words
    return numbers | {
        "md": tables.to_markdown(shown, caption, note).encode(),
        "tex": tables.to_latex(shown, caption, label=name, note=note).encode(),
    }
