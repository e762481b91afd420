"""Configurations: defaults, files, overrides and descriptions."""

import json
import tomllib

import pytest

from faqd_train.cli import main
from faqd_train.config.describe import describe_config
from faqd_train.config.files import check_config, load_config, packaged_configs
from faqd_train.config.schema import Config
from faqd_train.config.tables import setting_names

FACTORY = ["model.factory='package.module:function'", 'model.options={width = 4, name = "a b"}']
KINDS = [  # of each section that has several
    ["model.kind=resnet", "model.shortcut=pad"],
    FACTORY,
    ["quantization.weights.projection=released", "data.dir=/a", "data.name=cifar10"],
    ["quantization.activations.rule=released", "quantization.weights=none"],
    ["objective.kd.loss=kl", "objective.fa.probes.k=5"],
    ["objective.fa=none", "objective.label.weight=1.0", "data.labels=true"],
    ["run.teacher.folded=true", "run.teacher.tolerance=0.1", "data.limit=60"],
]
CONFIGS = [(name, []) for name in packaged_configs()] + [("digits-fa", kind) for kind in KINDS]


def test_defaults_are_those_of_the_released_code():
    config = Config()
    objective, optimizer = config.objective, config.optimizer
    assert objective.weights == {"kd": 1.0, "fa": 0.1, "label": 0.3}
    assert (objective.kd.loss, objective.fa.order, objective.fa.probes) == ("mse", 2, None)
    assert (optimizer.lr, optimizer.momentum, optimizer.nesterov) == (0.01, 0.9, True)
    assert (optimizer.weight_decay, optimizer.epochs, optimizer.batch_size) == (1e-4, 200, 100)


@pytest.mark.parametrize(("name", "overrides"), CONFIGS)
def test_a_configuration_survives_json_and_its_own_description(name, overrides):
    config = load_config(name, overrides)
    assert check_config(json.loads(json.dumps(config.model_dump(mode="json")))) == config
    text = describe_config(config)
    assert check_config(tomllib.loads(text)) == config
    assert max(map(len, text.splitlines())) <= 80


def test_every_setting_is_described_with_its_default():
    texts = [describe_config(load_config("digits-fa", kind)) for kind in [*KINDS, ["bits=4w"]]]
    lines = {line for text in texts for line in text.splitlines()}
    for name in setting_names(Config):
        assert any(line.startswith(f"{name.rpartition('.')[2]} = ") for line in lines), name
    assert "# Images per step. Default: 100.\nbatch_size = 100\n" in texts[0]
    assert "Default: 4.\nbits = 4\n" in texts[0]


def test_an_own_file_may_build_on_a_packaged_one(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('base = "digits-fa"\n[run]\nseed = 7\n')
    config = load_config(path, ["objective.fa.probes.k=5", "model.widths=[4, 4, 8]"])
    assert (config.run.seed, config.objective.label) == (7, None)  # of digits-fa
    assert (config.objective.fa.probes.k, config.model.widths) == (5, (4, 4, 8))
    assert config.model.depth == 8  # of digits


@pytest.mark.parametrize(
    ("overrides", "same_as"),
    [
        (["objective.kd.loss=kl", "objective.kd.temperature=2.0", "objective.kd.loss=mse"], []),
        (
            ["objective.kd.weight=2.0", "objective.kd.loss=kl"],
            ["objective.kd={loss='kl', weight=2.0}"],
        ),
        (["objective.fa.probes.k=5", "objective.fa.probes=none"], []),
        (["objective.fa.order=1", "objective.fa=none", "objective.fa.weight=0.1"], []),
        (["data.limit=5", "data.limit=none"], []),
        (["run.teacher.folded=true", "run.teacher.tolerance=0.1", "run.teacher.folded=false"], []),
        (
            [*FACTORY, "model.kind=resnet"],
            ["model.kind=resnet", "model.depth=20"],
        ),
        (["model.kind=resnet", "model.shortcut=pad", "model.factory=a:b"], ["model.factory=a:b"]),
        (["model.init=a", "model.factory=a:b"], ["model.factory=a:b", "model.init=a"]),
        (
            ["quantization.weights.per_channel=true", "quantization.weights.projection=released"],
            ["quantization.weights.projection=released"],
        ),
    ],
)
def test_an_override_drops_what_contradicts_it(overrides, same_as):
    assert load_config("digits-fa", overrides) == load_config("digits-fa", same_as)


@pytest.mark.parametrize("name", packaged_configs())
def test_a_factory_takes_the_place_of_any_packaged_network(name):
    model = load_config(name, FACTORY).model
    assert (model.kind, model.factory) == ("factory", "package.module:function")
    assert model.options == {"width": 4, "name": "a b"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run.seed=1"], "run.seed=1 changes nothing without --show NAME: add it."),
        (["--show", "digits-f"], "config 'digits-f' is unknown (did you mean digits-fa?)"),
        (["--show", "digits", "run.sed=1"], "run.sed is not a setting (did you mean seed?)"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line_with_code_2(arguments, message, capsys):
    assert main(["configs", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_taps_are_by_default_the_stages_of_the_network():
    for settings, expected in (
        ([], ("stage1", "stage2", "stage3")),
        (["model.kind=resnet"], ("layer1", "layer2", "layer3")),
        (["model.kind=resnet", 'objective.fa.taps=["layer2"]'], ("layer2",)),
        (["model.kind=resnet", "method=kd"], ()),
    ):
        assert load_config("digits", settings).objective.taps == expected
    assert check_config({"model": {"kind": "resnet"}}).objective.taps[0] == "layer1"
