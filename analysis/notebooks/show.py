"""What notebooks show: figures and tables, made from the records as `make figures` makes them."""

from __future__ import annotations

from IPython.display import Image, Markdown

from analysis.products.catalogue import PRODUCTS, load_records
from analysis.rendering.figures import WIDTH
from analysis.rendering.product import make

_PIXELS_PER_INCH = 160  # on a screen


def figure(name: str) -> Image:
    """Draw a figure, with its alternative text."""
    content = make(PRODUCTS[name], load_records())["png"]
    return Image(content, width=int(WIDTH * _PIXELS_PER_INCH), alt=PRODUCTS[name].text)


def table(name: str) -> Markdown:
    """Lay out a table, with its caption."""
    return Markdown(make(PRODUCTS[name], load_records())["md"].decode())
