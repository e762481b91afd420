"""The README's Python examples run as they stand."""

import re
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import skip_init

import faqd_math as fm

README = Path(__file__).parents[1] / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), flags=re.DOTALL)


def test_the_examples_are_found():
    assert len(EXAMPLES) == 4


def network(generator):
    """Build a small network with the module names of the README's example."""
    net = nn.Sequential(
        OrderedDict(
            layer1=nn.Sequential(skip_init(nn.Conv2d, 3, 4, 3, padding=1), nn.ReLU()),
            layer2=nn.Sequential(skip_init(nn.Conv2d, 4, 6, 3, stride=2), nn.ReLU()),
            flat=nn.Flatten(),
            classifier=skip_init(nn.Linear, 6 * 9, 5),
        )
    )
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1, generator=generator)
    return net


@pytest.mark.parametrize("example", EXAMPLES, ids=["mathematics", "training", "own", "testing"])
def test_example_runs(example):
    generator = torch.Generator().manual_seed(0)
    names = {
        "my_loss": fm.fa_loss,
        "my_teacher": network(generator),
        "my_student": network(generator),
        "my_images": torch.randn(50, 3, 8, 8, generator=generator),
    }
    exec(compile(example, str(README), "exec"), names)
    if "test_my_loss" in names:
        names["test_my_loss"]()
