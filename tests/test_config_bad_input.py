"""Two hundred bad configurations: each refused in one line with exit code 2, before any training.

Most are derived from the configuration itself, so that a new setting is tested as it is added:
every setting misspelt, every setting of another type, every number out of its range.
"""

import re
from typing import Literal, get_args, get_origin

import pytest

from faqd_train.cli import main
from faqd_train.commands import train
from faqd_train.config.schema import Config
from faqd_train.config.tables import kinds_of
from faqd_train.grids import run as grid_runs

NEEDED = {"objective.fa.probes": ["objective.fa.probes.k=5"], "factory": ["model.factory=a:b"]}


def settings(model=Config, prefix="", needs=()):
    """Give each setting's name, its field, and the overrides that choose its kind of section."""
    for name, field in model.model_fields.items():
        kinds = kinds_of(model, name)
        if not kinds:
            yield prefix + name, field, list(needs)
        for kind in kinds:
            own = [*needs, *NEEDED.get(prefix + name, [])]
            if field.discriminator is not None:
                tag = kind.model_fields[field.discriminator].default
                value = str(tag).lower()
                own += [f"{prefix}{name}.{field.discriminator}={value}", *NEEDED.get(tag, [])]
            yield from settings(kind, f"{prefix}{name}.", own)


FIELDS = list(
    {name: (name, field, needs) for name, field, needs in reversed([*settings()])}.values()
)
NUMBERS = (int, float)


def types_within(annotation):
    """Return the plain types and choices that an annotation is made of."""
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    inner = get_args(annotation)
    own = {annotation} if isinstance(annotation, type) else {get_origin(annotation)}
    return own.union(*map(types_within, inner)) if inner else own


def misspelt(name):
    """Leave out the middle letter, or double that of a short name."""
    middle = len(name) // 2
    return name[:middle] + name[middle + 1 :] if len(name) > 3 else name + name[-1]


def misspellings():
    for key, _, needs in FIELDS:
        section, _, name = key.rpartition(".")
        wrong = misspelt(name)
        message = rf"{section}\.{wrong} is not a setting \(did you mean {name}\?\)"
        yield [*needs, f"{section}.{wrong}=1"], message
    for section in Config.model_fields:
        wrong = misspelt(section)
        yield [f"{wrong}.x=1"], rf"{wrong} is not a setting \(did you mean {section}\?\)"


def wrong_types():
    """Give each setting values that are none of its types: tables, truth values, words, dates."""
    for key, field, needs in FIELDS:
        types = types_within(field.annotation)
        if dict not in types:
            yield [*needs, f"{key}.x=1"], rf"{key} is {{'x': 1}}; "
        if not types & {bool, True, False} and dict not in types:
            yield [*needs, f"{key}=true"], rf"{key} is True; "
        if types & set(NUMBERS) and tuple not in types:
            yield [*needs, f"{key}=many"], rf"{key} is 'many'; input should be "
            yield [*needs, f'{key}="3"'], rf"{key} is '3'; input should be "
            yield [*needs, f"{key}=1979-05-27"], rf"{key} is '1979-05-27'; input should be "
        if tuple in types:
            yield [*needs, f"{key}=3"], rf"{key} is 3; input should be a valid "


def out_of_range():
    for key, field, needs in FIELDS:
        if types_within(field.annotation) & set(NUMBERS):
            value = "[-1]" if tuple in types_within(field.annotation) else "-1"
            if key != "data.mean":  # may be negative
                yield [*needs, f"{key}={value}"], rf"{key}(\.0)? is \[?-1\]?; "
            value = value.replace("-1", "inf")
            yield [*needs, f"{key}={value}"], rf"{key}(\.0)? is (\[?inf|'Infinity)"


CONTRADICTIONS = [
    (["objective.kd=none", "objective.fa=none", "objective.label=none"], "are all none; at least"),
    (["labels=label-free", "method=supervised"], "a label-free run has no label term: set"),
    (["quantization.weights.bits=4.0"], "quantization.weights.bits is 4.0; input should be a vali"),
    (["quantization.weights=none", "quantization.weights.blend=0.5"], "weights.bits is missing; g"),
    (["objective.fa=0"], "objective.fa is 0; a section of weight, order, taps, teacher_taps, prob"),
    (["objective.fa.weight=0"], "objective.fa.weight is 0; a positive weight is accepted: set the"),
    (["objective.fa.probes.law=sphere"], "objective.fa.probes.k is missing; give it"),
    (["objective.kd.temperature=4"], "objective.kd.temperature belongs to objective.kd with loss="),
    (["objective.kd.loss=kll"], "objective.kd.loss is 'kll' (did you mean kl?); accepted are 'mse"),
    (["objective.fa.taps=[]"], "objective.fa.taps is []; tuple should have at least 1 item"),
    (["objective.fa.taps=['a', 'a']"], "objective.fa.taps is ['a', 'a']; each of the student's"),
    (["objective.fa.teacher_taps=['stage1']"], "FA compares them in pairs: name equally many"),
    (
        ["objective.fa.order=1", "objective.fa.probes={k=5, gradient='one-sided'}"],
        "objective.fa.probes.gradient is 'one-sided' with objective.fa.order 1",
    ),
    (["run.capture_epochs=[1]"], "run.capture_epochs is [1] with run.capture 0; a number"),
    (["run.capture=3", "run.capture_epochs=[999]"], "run.capture_epochs holds 999; epochs from 1"),
    (["method=kd", "run.capture=3"], "run.capture is 3 with objective.fa none"),
    (["run.teacher.tolerance=0.02"], "run.teacher.tolerance belongs to run.teacher with folded=tr"),
    (["optimizer.momentum=0"], "nesterov is true with optimizer.momentum 0"),
    (["optimizer.epochs=5", "optimizer.warmup_epochs=5"], "fewer than all are accepted"),
    (["model.depth=21"], "6n + 2 is accepted for these stages and blocks: take 20"),
    (["model.depth=22", "model.bottleneck=true"], "9n + 2 is accepted for these stages"),
    (["model.kind=resnet", "model.depth=21"], "6n + 2 is accepted for these stages and blocks"),
    (["model.strides=[1, 2]"], "model.widths has 3 stages and model.strides 2"),
    (["model.blocks=[1, 1]"], "model.blocks has 2 stages"),
    (["model.blocks=[3, 3, 4]"], "makes a depth of 22"),
    (["model.options={a=1}"], "model.options belongs to model with kind=factory; set that, or dro"),
    (["model.factory='m:f'", "model.depth=32"], "model.depth belongs to model with kind=preact-re"),
    (
        ["quantization.weights.bits=3", "quantization.weights.projection=released"],
        "quantization.weights.bits is 3; input should be 1, 2 or 4",
    ),
    (
        ["quantization.activations.rule=released", "quantization.activations.bits=8"],
        "quantization.activations.bits is 8; input should be 1, 2 or 4",
    ),
    (
        ["quantization.weights.projection=released", "quantization.weights.per_channel=true"],
        "quantization.weights.per_channel belongs to quantization.weights with projection=alternat",
    ),
    (["data.size=32"], "it belongs to 'folder'"),
    (["data.crop_area=0.1", "data.shift=4"], "one random crop is accepted"),
    (["data.name=digits", "data.dir=/a"], "data.dir is '/a' with data.name 'digits', which is emb"),
    (["method=kd", "objective.fa.order=1"], "objective.fa.weight is missing; give it"),
    (["method=supervised", "objective.kd.loss=kl"], "objective.kd.weight is missing; give it"),
]
SYNTAX = [
    (["run.seed"], "override 'run.seed' is not understood"),
    (["seed=1"], "override 'seed=1' is not understood"),
    (["=1"], "override '=1' is not understood"),
    (["run.=1"], "has no valid key"),
    (["run.a b=1"], "has no valid key"),
    (["run.seed=1\nrun.seed=2"], "run.seed is '1\\nrun.seed=2'"),
    (["bits=5w"], "config 'bits/5w' is unknown (did you mean bits/"),
    (["bits="], "config 'bits/' is unknown"),
    (["bits=../../digits"], "config 'bits/../../digits' is unknown"),
    (["metod=fa"], "override 'metod=fa' is not understood"),
    (["method=ffa2"], "config 'method/ffa2' is unknown (did you mean method/ffa"),
    (["labels=none"], "config 'labels/none' is unknown"),
    (["run.seed='\x1b[31m\n'"], "run.seed is "),
]
BAD = [
    *misspellings(),
    *wrong_types(),
    *out_of_range(),
    *((overrides, re.escape(message)) for overrides, message in [*CONTRADICTIONS, *SYNTAX]),
]
DAMAGED_FILES = [
    (b"[run\nseed = 1", "is not valid TOML"),
    (b"run.seed = 1\nrun.seed = 2", "is not valid TOML"),
    (b"\xff\xfe", "is not valid TOML"),
    (b"run = 3", "run is 3; a section of seed, data_seed, "),
    (b"seed = 3", "seed is not a setting"),
    (b'base = "digit"', "config 'digit' is unknown (did you mean digits?)"),
    (b'base = "mine.toml"', "builds on itself"),
    (b'base = "gone.toml"', "No such file"),
    (b'base = {a = "digits"}', "the name of a configuration or a list of names"),
    (b"[[runs]]\nseed = 1", "runs is not a setting (did you mean run?)"),
    (b'"run.seed" = 1', "run.seed is not a setting"),
    (b'"a\\nb" = 1', "is not a setting"),
]


@pytest.fixture(autouse=True)
def nothing_trains(monkeypatch):
    def forbidden(*_arguments, **_options):
        raise AssertionError("training was reached")

    monkeypatch.setattr(train, "run_experiment", forbidden)
    monkeypatch.setattr(grid_runs, "run_experiment", forbidden)


def refuse(command, message, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([*command, "--out", str(out)]) == 2
    printed = capsys.readouterr()
    assert re.search(message, printed.err), printed.err
    assert printed.err.count("\n") == 1
    assert "\x1b" not in printed.err
    assert printed.out == ""
    assert not out.exists()


def test_there_are_two_hundred():
    assert len(BAD) + len(DAMAGED_FILES) >= 200
    assert len({tuple(overrides) for overrides, _ in BAD}) == len(BAD)


@pytest.mark.parametrize(("overrides", "message"), BAD, ids=lambda value: repr(value)[:60])
def test_bad_settings_are_refused(overrides, message, tmp_path, capsys):
    refuse(["distill", "cifar10", *overrides], message, tmp_path, capsys)


@pytest.mark.parametrize(("content", "message"), DAMAGED_FILES)
def test_damaged_files_are_refused(content, message, tmp_path, capsys):
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    refuse(["distill", str(path)], re.escape(message), tmp_path, capsys)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        *((overrides, re.escape(message)) for overrides, message in CONTRADICTIONS[2:]),
        (["run.sed=0,1"], r"run\.sed is not a setting \(did you mean seed\?\)"),
        (["run.seed=0,,1"], r"run\.seed is ''; input should be a valid integer"),
        (["run.seed=0,x"], r"run\.seed is 'x'; input should be a valid integer"),
        (["run.seed"], r"override 'run\.seed' is not understood"),
        (["start.run"], r"override 'run' is not understood"),
        (["teacher.optimizer.epochs=0"], r"optimizer\.epochs is 0; input should be greater"),
        (["teacher.method=fa"], "cifar10-teacher is not a teacher, since it needs one itself"),
        (["start.bits=5w"], "config 'bits/5w' is unknown"),
    ],
)
def test_bad_grids_are_refused(overrides, message, tmp_path, capsys):
    command = ["grid", "cifar10", *overrides, "--teacher", "cifar10-teacher"]
    # A configuration, not the grid of its name: its settings are then those given.
    path = tmp_path / "own.toml"
    path.write_text('base = "cifar10"\n')
    command[1] = str(path)
    refuse(command, message, tmp_path, capsys)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["grid", "cifar"], r"grid 'cifar' is unknown \(did you mean cifar10"),
        (["grid", "digits-fa,digits-f"], r"grid 'digits-f' is unknown \(did you mean digits-fa"),
        (["grid", "gone.toml"], r"No such file or directory: 'gone\.toml'"),
        (["grid", "digits-fa"], r"the grid names no teacher, which objective\.kd"),
        (["grid", "digits", "bits=1w"], r"no run of digits has bits=1w"),
        (["grid", "digits", "--jobs", "0"], r"n_jobs == 0"),
        (["grid", "digits", "--device", "gpu"], r"device is 'gpu', which torch does not find"),
        (["teacher", "cifar10"], r"the configuration needs a teacher itself"),
        (["teacher", "digits-teachr"], r"'digits-teachr' is unknown \(did you mean digits-teac"),
    ],
)
def test_bad_commands_are_refused(command, message, tmp_path, capsys):
    refuse(command, message, tmp_path, capsys)
