"""The packaged configurations, parts and grids: the rows of the paper's experiments (§7)."""

from itertools import product
from pathlib import Path

import pytest

from faqd_train.config.files import describe, load_config, packaged_configs, packaged_parts
from faqd_train.config.schema import Config
from faqd_train.grids.expand import load_grid
from faqd_train.grids.files import packaged_grids

PROBES = (None, 1, 5, 15)  # k; None: exact


def row(config):
    """Return what the paper's tables tell of a run."""
    bits, objective = config.quantization, config.objective
    return (
        config.model.depth,
        bits.weight_bits,
        bits.activation_bits,
        objective.fa.probes.k if objective.fa and objective.fa.probes else None,
        objective.weights.get("label", 0.0),
        config.data.labels,
        config.model.init is not None,
    )


def expected_rows(depth, activations):
    """Bits × method × labels end-to-end, bits × labels fine-tuned, as §7 lists them."""
    labels = [(0.3, True), (0.0, False)]
    end_to_end = product((1, 2, 4), PROBES, labels)
    fine_tuned = product((1, 2, 4), (None,), labels)
    for runs, starts in ((end_to_end, False), (fine_tuned, True)):
        for weight_bits, k, (label, opened) in runs:
            yield depth, weight_bits, activations, k, label, opened, starts


@pytest.mark.parametrize(
    ("name", "teacher_depth", "full_depth", "weights_only_depth"),
    [
        ("cifar10-paper", 110, 20, 20),
        ("cifar100-paper", 164, 56, 110),
        ("tiny-imagenet-paper", 34, 18, 18),
    ],
)
def test_paper_grids_have_the_rows_of_the_paper(
    name, teacher_depth, full_depth, weights_only_depth
):
    runs = load_grid(name, out=Path("runs"))
    needed = {need for run in runs for need in run.needs}
    rows = [row(run.config) for run in runs if run.folder not in needed]
    expected = [*expected_rows(full_depth, 4), *expected_rows(weights_only_depth, 32)]
    references = [r for r in rows if r[1:3] == (32, 32)]
    assert sorted(map(repr, (r for r in rows if r not in references))) == sorted(
        map(repr, expected)
    )
    assert {r[0] for r in references} == {full_depth, weights_only_depth}
    assert all(r[3:5] == (None, 1.0) for r in references)
    teachers = {run.teacher for run in runs} - {None}
    (teacher,) = (run.config for run in runs if run.folder in teachers)
    assert (teacher.model.depth, *row(teacher)[1:3]) == (teacher_depth, 32, 32)
    assert not teacher.objective.needs_teacher


def test_the_comparison_is_the_papers_at_full_length():
    runs = load_grid("cifar10", out=Path("runs"))
    teacher, *students = (run.config for run in runs)
    assert {config.optimizer.epochs for config in (teacher, *students)} == {200}
    assert (teacher.model.depth, {c.model.depth for c in students}) == (110, {20})
    label_free = [(4, 4, fa, k, 0.0, False) for fa, k in ((0.0, None), (0.1, None), (0.1, 15))]
    supervised = [(bits, bits, 0.0, None, 1.0, True) for bits in (4, 32)]
    for seed in (0, 1, 2):
        rows = [
            (*row(c)[1:3], c.objective.weights.get("fa", 0.0), *row(c)[3:6])
            for c in students
            if c.run.seed == seed
        ]
        assert rows == [*label_free, *supervised]


def test_fine_tuning_starts_from_the_same_run_less_quantized():
    runs = {run.folder: run for run in load_grid("cifar100-paper", out=Path("runs"))}
    tuned = [run for run in runs.values() if run.start]
    for run in tuned:
        start = runs[run.start]
        assert run.config.model.init == run.start
        assert start.config.quantization.weight_bits == 32
        bits = run.config.quantization.activation_bits
        assert start.config.quantization.activation_bits == bits
        assert start.config.objective == run.config.objective  # label-free if the run is
        assert start.config.data == run.config.data
        assert start.config.model.depth == run.config.model.depth
    assert len(tuned) == 12
    assert len({run.start for run in tuned}) == 4  # one serves all weight bits


@pytest.mark.parametrize("data", ["cifar10", "cifar100", "tiny-imagenet"])
def test_students_have_the_settings_of_the_released_code(data):
    config, usual = load_config(data), Config()
    assert (config.objective.kd, config.objective.label) == (
        usual.objective.kd,
        usual.objective.label,
    )
    batch = {"batch_size": 64 if data == "tiny-imagenet" else 100}
    assert config.optimizer == usual.optimizer.model_copy(update=batch)
    assert config.data.name == data
    assert load_config(f"{data}-teacher").data == config.data


@pytest.mark.parametrize("kind", packaged_parts())
def test_parts_of_a_kind_make_different_configs(kind):
    configs = [load_config("cifar10", [f"{kind}={part}"]) for part in packaged_parts()[kind]]
    assert all(a != b for i, a in enumerate(configs) for b in configs[:i])


@pytest.mark.parametrize("name", packaged_grids())
def test_every_grid_names_its_runs_apart(name):
    runs = load_grid(name, out=Path("runs"))
    assert len({run.name for run in runs}) == len(runs)
    assert len({run.config.model_dump_json() for run in runs}) == len(runs)


def test_everything_packaged_opens_with_a_comment():
    parts = [f"{kind}/{part}" for kind, parts in packaged_parts().items() for part in parts]
    comments = [*map(describe, [*packaged_configs(), *parts]), *packaged_grids().values()]
    assert all(comment.endswith(".") for comment in comments)


def test_later_bases_change_earlier_ones_and_the_file_changes_all(tmp_path):
    (tmp_path / "student.toml").write_text('base = "cifar10"\n[optimizer]\nepochs = 7\n')
    path = tmp_path / "row.toml"
    path.write_text('base = ["student.toml", "bits/1w4a", "bits/2w4a"]\n[optimizer]\nlr = 0.5\n')
    config = load_config(path)
    assert config.quantization.weight_bits == 2
    assert (config.optimizer.epochs, config.optimizer.lr) == (7, 0.5)
    assert config.data.name == "cifar10"


def test_a_part_in_an_override_comes_in_its_turn():
    config = load_config("cifar10", ["quantization.weights.bits=8", "bits=1w"])
    assert config.quantization.weight_bits == 1
    assert load_config("cifar10", ["bits=1w", "quantization.weights.bits=8"]) == load_config(
        "cifar10", ["bits=4w", "quantization.weights.bits=8"]
    )


@pytest.mark.parametrize("name", ["digits-ffa", "digits-qat"])
@pytest.mark.parametrize("first", packaged_parts()["method"])
@pytest.mark.parametrize("second", packaged_parts()["method"])
def test_methods_replace_each_other(name, first, second):
    """The later of two methods is as if it came alone, whatever the earlier one had settled."""
    both, alone = (
        load_config(start, ["labels=labelled", *methods]).objective
        for start, methods in (
            (name, [f"method={first}", f"method={second}"]),
            ("digits", [f"method={second}"]),
        )
    )
    # A method may leave the label's weight to its predecessor, and nothing else.
    assert both.label.weight in (0.3, 1.0)
    assert both.model_copy(update={"label": alone.label}) == alone


SETTLED = [
    "objective.fa.order=1",
    "objective.fa.probes={k=3, law='sphere'}",
    "objective.kd.loss=kl",
]


@pytest.mark.parametrize(
    ("method", "order", "law", "loss"),
    [
        ("ffa5", 1, "sphere", "kl"),
        ("fa", 1, None, "kl"),
        ("kd", None, None, "kl"),
        ("supervised", None, None, None),
    ],
)
def test_a_method_keeps_the_settings_of_the_terms_that_it_has(method, order, law, loss):
    objective = load_config("digits", [*SETTLED, f"method={method}"]).objective
    assert getattr(objective.fa, "order", None) == order
    assert getattr(getattr(objective.fa, "probes", None), "law", None) == law
    assert getattr(objective.kd, "loss", None) == loss


@pytest.mark.parametrize("bits", packaged_parts()["bits"])
def test_parts_of_float_weights_drop_the_rules_of_quantized_ones(bits):
    rules = ["quantization.weights.blend=0.5", "quantization.weights.per_channel=true"]
    quantization = load_config("cifar10", [*rules, f"bits={bits}"]).quantization
    if quantization.weights is None:
        assert (quantization.weight_bits, quantization.blend) == (32, 0.0)
    else:
        assert (quantization.weights.per_channel, quantization.blend) == (True, 0.5)
