"""One figure or table: what it needs, how it is made of records, and its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

from matplotlib.figure import Figure

from analysis.records.store import Records
from analysis.rendering import figures, tables
from analysis.rendering.tables import Row

T = TypeVar("T")
# What a record's result holds.
Result = Mapping[str, Any]


@dataclass(frozen=True)
class Product:
    """One figure or table.

    Its functions take the result of the record that it needs or, where it needs a pattern of names,
    all records that match, by name.

    Attributes
    ----------
    name : str
        Name of its files.
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
    needs : str
        Name of a record, or a pattern that at least one record must match; that of a study's
        product is the study's.
    inputs : tuple of Path
        Files that it reads beside the records.
    """

    name: str
    text: str
    rows: Callable[[Any], list[Row]]
    draw: Callable[[Any], Figure] | None = None
    shown: Callable[[Any], list[Row]] | None = None
    note: Callable[[Any], str] | None = None
    needs: str = ""
    inputs: tuple[Path, ...] = ()

    @property
    def is_figure(self) -> bool:
        """Whether it is a figure, with its numbers beside it, and not a table."""
        return self.draw is not None

    def choose(self, records: Mapping[str, T]) -> dict[str, T]:
        """Return the records that it needs, by name."""
        return {name: r for name, r in records.items() if fnmatchcase(name, self.needs)}

    def given(self, records: Records) -> Any:
        """Return what its functions take."""
        return self.choose(records) if "*" in self.needs else records[self.needs].result


def make(product: Product, records: Records) -> dict[str, bytes]:
    """Make a product's files, by suffix; where it lacks its records they say which."""
    if not product.choose(records):
        rows: list[Row] = [
            {"product": product.name, "state": tables.NOT_RUN, "missing": product.needs}
        ]
        caption = f"{product.name}: {tables.NOT_RUN}, as its record is missing."
        figure = figures.not_run(product.name, product.needs) if product.is_figure else None
        return _files(figure, rows, rows, (caption, ""), product.name)
    given, figure = product.given(records), None
    if product.draw:
        with figures.style():
            figure = product.draw(given)
    rows = product.rows(given)
    shown = product.shown(given) if product.shown else rows
    note = product.note(given) if product.note else ""
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
