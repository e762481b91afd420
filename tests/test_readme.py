"""The README's Python examples and its faqd-math commands run as they stand."""

import itertools
import re
import shlex
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import skip_init

import faqd_math as fm
from faqd_math import cli

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


COMMANDS = re.findall(r"^    (faqd-math [^#\n]*)", README.read_text("utf-8"), flags=re.MULTILINE)
#: Fewer draws, samples and examples: options that come last win.
SHORT = {
    "verify": ["--replications", "100", "--samples", "1"],
    "check": ["--examples", "3", "--replications", "200"],
}
MY_LOSSES = """
from faqd_math import fa_loss
from faqd_train import ffa_loss as ffa
"""


def test_the_commands_are_found():
    assert {command.split()[1] for command in COMMANDS} == {"check", "explain", "plan", "verify"}


@pytest.mark.parametrize("command", COMMANDS)
def test_command_runs(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_losses.py").write_text(MY_LOSSES, encoding="utf-8")
    student, teacher = np.random.default_rng(0).standard_normal((2, 2, 4, 6, 6))
    np.savez("maps.npz", **{"student.stage1": student, "teacher.stage1": teacher})
    _, verb, *options = shlex.split(command)
    assert cli.main([verb, *options, *SHORT.get(verb, [])]) == 0, capsys.readouterr()
    for option, name in itertools.pairwise(options):
        if option in ("--json", "--html"):
            assert (tmp_path / name).stat().st_size > 0
