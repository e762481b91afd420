"""Grids are expanded to runs of their own names, after those that they need."""

import json
from pathlib import Path

import pytest

from faqd_train.cli import main
from faqd_train.grids.expand import load_grid, stages

KEPT = "quantization.weights.keep_float"
TINY = ["data.limit=50", "optimizer.epochs=1", "teacher.optimizer.epochs=1"]


def tiny_grid(out, *settings, name="digits-fa,digits-qat"):
    return load_grid(name, [*settings, *TINY], out=out, teacher="digits-teacher")


def test_every_combination_is_a_run_with_its_own_name():
    runs = load_grid("digits-qat", ["quantization.weights.bits=1,2", "run.seed=0,1,2"], out=Path())
    seen = {run.name: (run.config.quantization.weight_bits, run.config.run.seed) for run in runs}
    assert seen == {
        f"digits-qat-weights.bits={bits}-seed={seed}": (bits, seed)
        for bits in (1, 2)
        for seed in (0, 1, 2)
    }


def test_a_list_is_one_value_and_names_suit_folders():
    widths = "model.widths=[4, 4, 8],[8, 8, 8]"
    runs = load_grid("digits-qat", [widths], out=Path("runs"))
    assert [run.config.model.widths for run in runs] == [(4, 4, 8), (8, 8, 8)]
    assert [run.folder for run in runs] == [
        Path("runs/digits-qat-widths=_4_4_8_"),
        Path("runs/digits-qat-widths=_8_8_8_"),
    ]


def test_where_the_data_lie_is_in_no_name():
    runs = [
        load_grid("digits-fa", [f"data.cache={place}"], out=Path(), teacher="digits-teacher")
        for place in ("/a", "/b")
    ]
    assert [run.name for run in runs[0]] == [run.name for run in runs[1]]
    assert {str(run.config.data.cache) for run in runs[0]} == {"/a"}  # the teacher's, too


@pytest.mark.parametrize("key", ["data.dir", "data.cache", "teacher.data.dir", "start.data.cache"])
def test_a_place_has_one_value_whose_commas_are_quoted(key, tmp_path):
    with pytest.raises(ValueError, match=rf"^{key} has 2 values in '{key}=/a,/b'; one is accepted"):
        load_grid("cifar10", [f"{key}=/a,/b"], out=Path())
    path = tmp_path / "mine.toml"
    path.write_text(
        f'[[runs]]\nconfig = "cifar10"\nteacher = "cifar10-teacher"\nsettings = ["{key}=/a,/b"]\n'
    )
    with pytest.raises(ValueError, match=rf"^{key} has 2 values"):
        load_grid(str(path), out=Path())

    (run,) = load_grid("cifar10-teacher", ["data.dir='/a,/b'", 'data.cache="/c,d"'], out=Path())
    assert (run.name, str(run.config.data.dir)) == ("cifar10-teacher", "/a,/b")
    assert str(run.config.data.cache) == "/c,d"


@pytest.mark.parametrize(
    ("what", "config", "other", "settings"),
    [
        ("teacher", ["digits-fa"], ["digits-teacher", "digits-float"], []),
        ("config", ["digits-fa", "digits-kd"], ["a/big.toml", "b/big.toml"], []),
        ("config", ["a/big.toml", "b/big.toml"], [], []),
        ("config", ["cifar10-teacher"], [], ["data.dir=/a", "data.dir=/b"]),
        ("config", ["digits-qat"], [], [f"{KEPT}=['a b']", f"{KEPT}=['a  b']"]),
    ],
    ids=["teachers", "teachers of one name", "configs of one name", "places", "odd signs"],
)
def test_different_runs_of_one_folder_are_refused(what, config, other, settings, tmp_path):
    for folder, base in (("a", "digits-teacher"), ("b", "digits-float")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "big.toml").write_text(f'base = "{base}"\n')
    text = ""
    for index in (0, 1):
        text += "[[runs]]\n"
        for key, names in (("config", config), ("teacher", other), ("settings", settings)):
            value = names[index % len(names)] if names else None
            if value and value.endswith(".toml"):
                value = str(tmp_path / value)
            text += (
                f"{key} = {json.dumps([value] if key == 'settings' else value)}\n" if value else ""
            )
    (tmp_path / "mine.toml").write_text(text)
    message = rf"^two runs of the grid have the folder .*, and not the same {what} \('faqd-train "
    with pytest.raises(ValueError, match=message) as refusal:
        load_grid(str(tmp_path / "mine.toml"), out=Path("runs"))
    assert "\n" not in str(refusal.value)


def test_the_same_run_of_two_blocks_is_one(tmp_path):
    block = (
        '[[runs]]\nconfig = "digits-fa"\nteacher = "digits-teacher"\nsettings = ["run.seed={}"]\n'
    )
    (tmp_path / "mine.toml").write_text(block.format("0,1") + block.format("1,1,2"))
    names = [run.name for run in load_grid(str(tmp_path / "mine.toml"), out=Path())]
    assert names == ["digits-teacher", *(f"digits-fa-seed={seed}" for seed in (0, 1, 2))]


def test_one_teacher_serves_all_runs_and_sees_their_data():
    runs = tiny_grid(Path("runs"), "run.seed=0,1,2")
    teachers = [run for run in runs if run.name.startswith("digits-teacher")]
    assert [run.name for run in teachers] == ["digits-teacher-limit=50-epochs=1"]
    assert runs[0] is teachers[0]
    assert {run.teacher for run in runs[1:]} == {teachers[0].folder, None}
    assert teachers[0].config.data == runs[1].config.data.model_copy(update={"labels": True})


def test_a_run_without_teacher_is_the_same_whatever_the_teacher():
    names = [run.name for run in tiny_grid(Path(), "teacher.run.seed=0,1", name="digits-qat")]
    assert names == ["digits-qat-limit=50-epochs=1"]


def test_seeds_come_last_to_vary():
    seeds = [run.config.run.seed for run in load_grid("digits", out=Path())]
    assert seeds == [0, *[0] * 5, *[1] * 5, *[2] * 5]


def test_parts_pick_among_a_grids_runs_and_settings_replace():
    runs = load_grid("digits", ["method=fa", "run.seed=7"], out=Path())
    assert [run.name for run in runs] == [
        "digits-teacher",
        "digits-4w4a-fa-label-free-seed=7",
    ]
    with pytest.raises(ValueError, match=r"no run of digits has bits=1w; .* --dry-run shows"):
        load_grid("digits", ["bits=1w"], out=Path())


def test_an_own_grid_file_is_read(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'teacher = "digits-teacher"\n'
        '[[runs]]\nconfig = "digits-fa"\nsettings = ["bits=1w4a,2w4a", "start.bits=4a"]\n'
    )
    runs = load_grid(str(path), out=Path())
    staged = [[run.name for run in stage] for stage in stages(runs)]
    assert staged == [
        ["digits-teacher"],
        ["digits-fa-4a"],
        ["digits-fa-1w4a-start-4a", "digits-fa-2w4a-start-4a"],
    ]


BAD_GRIDS = [
    ("[[runs]]\nsettings = []", r"config is missing; give it"),
    (
        '[[runs]]\nconfg = "digits"\nconfig = "digits"',
        r"confg is not a setting \(did you mean config",
    ),
    ('runs = "digits"', r"runs is 'digits'; input should be a valid array"),
    ("runs = []", r"runs is \[\]; list should have at least 1 item"),
    (
        'colour = 1\n[[runs]]\nconfig = "digits"',
        r"colour is not a setting; accepted there are config",
    ),
    ('[[runs]]\nconfig = "digit"', r"config 'digit' is unknown \(did you mean digits\?\)"),
    ('[[runs]]\nconfig = "digits"\nsettings = "run.seed=0"', r"settings is 'run\.seed=0'"),
    ('[[runs]]\nconfig = "digits"', r"the grid names no teacher, which objective\.kd"),
    (
        'teacher = "digits-fa"\n[[runs]]\nconfig = "digits"',
        r"digits-fa is not a teacher, since it needs one itself",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD_GRIDS)
def test_a_bad_grid_file_is_refused_in_one_line_with_code_2(tmp_path, capsys, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_grid(str(path), out=tmp_path / "out")
    assert main(["grid", str(path), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()
