"""Every command that README or --help documents runs, on slices of real data."""

import argparse
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from faqd_train import cli
from faqd_train.cli import main
from faqd_train.config.files import load_config
from faqd_train.data import Description, load_images
from faqd_train.networks.building import foreign_network
from faqd_train.networks.cifar_resnet import cifar_resnet

README = Path(__file__).parents[1] / "README.md"
DOCUMENTED = re.findall(r"^(?: {4})?(faqd-train .*)$", README.read_text("utf-8"), re.MULTILINE)
TINY = ["data.limit=60", "optimizer.epochs=1"]
# One session of a user, in order; every option of every command occurs in it.
SESSION = [
    "configs --threads 1",
    "configs --show digits-fa bits=2w4a",
    "data prepare digits --cache cache --held-out 200",
    "data inspect digits --cache cache --held-out 200",
    "data sheet digits --split validation --out sheet.png --cache cache --held-out 200",
    "data prepare folder --dir images --size 8 --cache cache --held-out 20",
    "data inspect folder --dir images --size 8 --cache cache --held-out 20",
    "data sheet folder --dir images --size 8 --out folder.png --cache cache --held-out 20",
    "teacher digits-teacher data.limit=60 optimizer.epochs=1 --out t --device cpu --threads 1",
    "teacher digits-teacher data.limit=60 optimizer.epochs=1 --out t --resume",
    "teacher digits-teacher --out t --overwrite data.limit=60 optimizer.epochs=1",
    "distill digits-fa data.limit=60 optimizer.epochs=1 --teacher t --out s --device cpu",
    "distill digits-fa data.limit=60 optimizer.epochs=1 --teacher t --out s --resume",
    "distill digits-fa data.limit=60 optimizer.epochs=1 --teacher t --out s --overwrite",
    "distill digits bits=1w4a model.init=s data.limit=60 optimizer.epochs=1 --teacher t --out tuned"
    " --threads 1",
    "evaluate s --split validation --weights best --device cpu --threads 1",
    "evaluate t --split train",
    "evaluate s",
    "grid digits-fa,digits-qat run.seed=0,1 data.limit=60 optimizer.epochs=1 --teacher t --out g"
    " --dry-run",
    "grid digits-fa,digits-qat run.seed=0,1 data.limit=60 optimizer.epochs=1 --teacher t --out g"
    " --list jobs.txt --device cpu",
    "grid digits-fa,digits-qat run.seed=0,1 data.limit=60 optimizer.epochs=1 --teacher t --out g"
    " --jobs 1 --together 2 --json g.json --threads 1",
    "import public.pth data.name=digits --out i --trained-on train --licence MIT --source me"
    " --device cpu --threads 1",
    "evaluate i",
    "import own.pth data.name=digits model.options.classes=10 --network networks:TwoHeads --out i"
    " --overwrite --accuracy 9.67",
    "bench --what losses --quick --repetitions 1 --memory 1 --seed 1 --device cpu --json b.json"
    " --threads 1",
]


def leaves(parser, words=()):
    """Give the words and the parser of each command that has no commands below it."""
    below = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not below:
        yield words, parser
    for action in below:
        for name, command in action.choices.items():
            yield from leaves(command, (*words, name))


COMMANDS = list(leaves(cli._parser()))


@pytest.fixture
def user(tmp_path, monkeypatch):
    """Work in an empty folder with a folder of images beside."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path / "images"
    folder.mkdir()
    for number, digit in enumerate(load_images(digits_section(), "train")[:60].numpy()):
        image.fromarray((digit[0] * 15).astype(np.uint8)).save(folder / f"{number}.png")
    generator = torch.Generator().manual_seed(0)
    built_in = cifar_resnet(8, channels=1, generator=generator)
    digits = Description(channels=1, side=8, classes=10)
    own = foreign_network("networks:TwoHeads", {"classes": 10}, digits, generator)
    public = {"public.pth": built_in, "resnet56.pth": built_in}  # the latter in the README
    for name, network in {**public, "own.pth": own}.items():
        torch.save(network.state_dict(), tmp_path / name)
    return tmp_path


def digits_section():
    return load_config("digits").data


def test_a_session_with_every_command_and_option_runs(user, capsys):
    for line in SESSION:
        assert main(shlex.split(line)) == 0, capsys.readouterr().err
        assert capsys.readouterr().err == ""
    assert (user / "sheet.png").stat().st_size > 0
    assert len((user / "jobs.txt").read_text().splitlines()) == 4
    assert sorted(path.name for path in (user / "g").iterdir()) == [
        f"digits-{kind}-seed={seed}-limit=60-epochs=1" for kind in ("fa", "qat") for seed in (0, 1)
    ]


@pytest.mark.parametrize(("words", "parser"), COMMANDS, ids=[" ".join(w) for w, _ in COMMANDS])
def test_the_session_leaves_no_command_or_option_out(words, parser):
    lines = [line.split() for line in SESSION if tuple(line.split()[: len(words)]) == words]
    assert lines
    for action in parser._actions:
        used = [line for line in lines if set(action.option_strings) & set(line)]
        if action.option_strings and action.dest not in ("help", "threads"):
            assert used, f"{' '.join(words)} {action.option_strings} is in no line of the session"


@pytest.mark.parametrize("words", [(), *(words for words, _ in COMMANDS)], ids=" ".join)
def test_help_is_given(words, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([*words, "--help"])
    printed = capsys.readouterr().out
    assert printed.startswith("usage: " + " ".join(["faqd-train", *words]))


def on_digits(line):
    """Turn a documented command into one on slices of the digits, on the CPU."""
    words = shlex.split(os.path.expandvars(line), comments=True)[1:]
    kept, skip = [], False
    for word in words:
        if skip or word in ("--device", "--dir", "--accuracy"):
            skip = not skip
        elif not word.startswith(("data.dir=", "data.mean=", "data.std=")):  # of other images
            kept.append(re.sub(r"^(data\.name=)?cifar10(-paper)?(?=$|-)", r"\1digits", word))
    if kept[0] == "grid":
        kept[2:2] = ["run.seed=0", *TINY, "teacher.optimizer.epochs=1"]
    elif kept[0] in ("teacher", "distill"):
        kept[2:2] = TINY
    elif kept[0] == "bench":
        kept.append("--quick")
    return ["optimizer.epochs=1" if word == "optimizer.epochs=10" else word for word in kept]


@pytest.mark.usefixtures("user")
def test_commands_of_the_readme_run_in_their_order(capsys):
    assert DOCUMENTED
    for line in DOCUMENTED:
        assert main(on_digits(line)) == 0, (line, capsys.readouterr().err)


@pytest.mark.usefixtures("user")
def test_the_reading_of_the_readme_can_fail():
    with pytest.raises(SystemExit, match="2"):
        main(on_digits("faqd-train distil digits-fa --out x"))
    assert main(on_digits("faqd-train distill digits-fa --teacher nowhere --out x")) == 2
