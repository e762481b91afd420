"""The README's Python examples run as they stand."""

import re
from pathlib import Path

import pytest

import faqd_math as fm

README = Path(__file__).parents[1] / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), flags=re.DOTALL)


def test_the_examples_are_found():
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize("example", EXAMPLES, ids=["mathematics", "training", "testing"])
def test_example_runs(example):
    names = {"my_loss": fm.fa_loss}
    exec(compile(example, str(README), "exec"), names)
    if "test_my_loss" in names:
        names["test_my_loss"]()
