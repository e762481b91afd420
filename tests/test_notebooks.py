"""Notebooks: thin, complete, and running headless on the committed results."""

import ast

import jupytext
import pytest

from analysis.notebooks.execute import execute, notebooks
from analysis.products.catalogue import PRODUCTS

CALLS = ("figure", "table")


def code(path):
    cells = jupytext.read(path, fmt="md:myst").cells
    return [ast.parse(cell.source).body for cell in cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_a_notebook_imports_and_shows_and_does_nothing_else(path):
    first, *others = code(path)
    assert [ast.unparse(node) for node in first] == [
        "from analysis.notebooks.show import figure, table"
    ]
    for nodes in others:
        (node,) = nodes
        assert node.value.func.id in CALLS
        assert all(isinstance(argument, ast.Constant) for argument in node.value.args)


def test_every_product_is_shown_once():
    shown = [n[0].value.args[0].value for path in notebooks() for n in code(path)[1:]]
    # Shown as the figure of the same numbers.
    assert sorted(shown) == sorted(set(PRODUCTS) - {"cost"})


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_a_notebook_runs_headless_and_shows_what_it_names(path):
    outputs = [
        cell.outputs for cell in execute(path).cells if cell.cell_type == "code" and cell.outputs
    ]
    assert len(outputs) == len(code(path)) - 1
    for (output,) in outputs:
        assert {"image/png", "text/markdown"} & set(output.data)
