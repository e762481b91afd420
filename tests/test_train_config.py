"""Configurations: the defaults of the paper's code, files, overrides, and one-line refusals."""

import json

import pytest

from faqd_train.config.files import check_config, load_config, packaged_configs
from faqd_train.config.schema import Config, ObjectiveConfig


def test_defaults_are_those_of_the_released_code():
    config = Config()
    objective, optimizer = config.objective, config.optimizer
    assert (objective.kd, objective.fa, objective.label) == (1.0, 0.1, 0.3)
    assert (objective.kd_loss, objective.order) == ("mse", 2)
    assert ObjectiveConfig(fa_method="ffa").k == 15
    assert (optimizer.lr, optimizer.momentum, optimizer.nesterov) == (0.01, 0.9, True)
    assert (optimizer.weight_decay, optimizer.epochs, optimizer.batch_size) == (1e-4, 200, 100)


@pytest.mark.parametrize("name", packaged_configs())
def test_packaged_configs_survive_a_round_trip_through_json(name):
    config = load_config(name)
    assert check_config(json.loads(json.dumps(config.model_dump(mode="json")))) == config


def test_a_file_changes_its_base_and_overrides_change_the_file():
    config = load_config("digits-ffa", ["objective.k=5", "model.widths=[4, 4, 8]"])
    assert (config.objective.k, config.model.widths) == (5, (4, 4, 8))
    assert config.objective.label == 0  # of digits-fa
    assert config.model.depth == 8  # of digits


def test_a_bare_word_is_a_string():
    assert load_config("digits-fa", ["objective.fa_method=ffa"]).objective.k == 15


def test_temperature_belongs_to_kl_and_has_a_default():
    assert load_config("digits-fa", ["objective.kd_loss=kl"]).objective.temperature == 4.0


def test_an_own_file_may_build_on_a_packaged_one(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('base = "digits-fa"\n[run]\nseed = 7\n')
    config = load_config(path)
    assert (config.run.seed, config.objective.label) == (7, 0)


REFUSALS = [
    (["objective.fa_metod=ffa"], r"fa_metod is no setting \(did you mean fa_method\?\)"),
    (["optimiser.lr=1"], r"optimiser is no setting \(did you mean optimizer\?\)"),
    (["run.colour=1"], r"run.colour is no setting; accepted there are seed, .*capture"),
    (["optimizer.epochs=two"], r"optimizer.epochs is 'two'; input should be a valid integer"),
    (["optimizer.epochs='3'"], r"optimizer.epochs is '3'; input should be a valid integer"),
    (["optimizer.epochs=1.5"], r"optimizer.epochs is 1.5; input should be a valid integer"),
    (["optimizer.lr=nan"], r"optimizer.lr is nan; input should be a finite number"),
    (["optimizer.lr=-1"], r"optimizer.lr is -1; input should be greater than 0"),
    (["data.shift=true"], r"data.shift is True; input should be a valid integer"),
    (["data.name=mnist"], r"data.name is 'mnist'; input should be 'digits'"),
    (["run=3"], r"override 'run=3' is not understood; section.key=value is accepted"),
    (["run.seed"], r"override 'run.seed' is not understood"),
    (["run.=3"], r"override 'run.=3' has no valid key; use section.key=value"),
    (["quantization.weight_bits=5"], r"quantization.weight_bits is 5; input should be 1, 2, 3"),
    (["objective.k=5"], r"objective.k is 5 with method 'exact'; it belongs to 'ffa'"),
    (["objective.law=sphere"], r"objective.law is 'sphere' with method 'exact'"),
    (["objective.temperature=2.0"], r"objective.temperature is 2.0 with method 'mse'"),
    (["objective.fa=0", "objective.order=1"], r"order is 1 with objective.fa 0, .* method=kd"),
    (
        ["objective.fa=0", "objective.fa_method=ffa"],
        r"objective.fa_method is 'ffa' with objective.f",
    ),
    (
        ["objective.kd=0", "objective.kd_loss=kl"],
        r"objective.kd_loss is 'kl' with objective.kd 0, which leaves that term out; 'mse'",
    ),
    (
        ["objective.kd=0", "objective.kd_loss=kl", "objective.temperature=2.0"],
        r"objective.kd_loss is 'kl' with objective.kd 0",
    ),
    (["data.dir=/a"], r"data.dir is '/a' with data.name 'digits', which is embedded"),
    (
        ["quantization.weight_bits=32", "quantization.blend=0.5"],
        r"quantization.blend is 0.5 with quantization.weight_bits 32, .* drop quantization.blend",
    ),
    (
        ["quantization.weight_bits=32", "quantization.per_channel=true"],
        r"quantization.per_channel is True with quantization.weight_bits 32",
    ),
    (["objective.label=0.3"], r"objective.label is 0.3 with data.labels=false; a label-free run"),
    (["objective.kd=0", "objective.fa=0"], r"objective.label are all 0; at least one positive"),
    (["objective.taps=[]"], r"objective.fa is 0.1 with no taps"),
    (["objective.fa=0", "run.capture=3"], r"run.capture is 3 with objective.fa 0"),
    (["optimizer.momentum=0"], r"optimizer.nesterov is true with optimizer.momentum 0"),
    (["model.depth=9"], r"model.depth is 9; 6n \+ 2 is accepted for 3 stages .* take 8"),
    (["model.strides=[1, 2]"], r"model.widths has 3 stages and model.strides 2"),
]


@pytest.mark.parametrize(("overrides", "message"), REFUSALS)
def test_bad_settings_are_refused_in_one_sentence(overrides, message):
    with pytest.raises(ValueError, match=message) as refusal:
        load_config("digits-fa", overrides)
    assert "\n" not in str(refusal.value)


def test_an_unknown_config_names_the_nearest():
    with pytest.raises(ValueError, match=r"'digit-fa' is unknown \(did you mean digits-fa\?\)"):
        load_config("digit-fa")


def test_broken_toml_is_refused(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text("[run\nseed = 7\n")
    with pytest.raises(ValueError, match=r"broken\.toml is no valid TOML"):
        load_config(path)
