"""A teacher of other data is refused; where files lie changes no run."""

import json
import shutil

import numpy as np
import pytest
import torch
from tiny_data import write_cifar10
from tiny_runs import TINY, train

from faqd_train import load_config
from faqd_train.cli import main
from faqd_train.networks.folding import InferenceCopy
from faqd_train.runs.record import read_record
from faqd_train.training.teacher import TeacherPass

SHORT = ["optimizer.epochs=1"]
HELD_OUT = "data.held_out=10"


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """Tiny CIFAR-10 archives at one place, and a teacher trained there."""
    root = tmp_path_factory.mktemp("cifar")
    write_cifar10(root / "a", np.random.default_rng(0))
    places = [f'data.dir="{root / "a"}"', f'data.cache="{root / "cache-a"}"', HELD_OUT]
    settings = [*SHORT, *places, "optimizer.warmup_epochs=0"]
    train(root / "teacher", *settings, name="cifar10-teacher")
    return root


def student(out, *settings, **options):
    return train(out, *SHORT, HELD_OUT, *settings, name="cifar10", **options)


def test_a_teacher_that_trained_on_held_out_images_is_refused(teacher, tmp_path):
    with pytest.raises(ValueError, match=r"data\.held_out is 100 here and None in the teacher"):
        train(tmp_path, "data.held_out=100", teacher=teacher)


def test_a_teacher_of_other_images_is_refused(cifar, tmp_path):
    message = "trained on cifar10 with 3 channels and 10 classes, the student's digits has 1 and 10"
    with pytest.raises(ValueError, match=message):
        train(tmp_path, teacher=cifar / "teacher")


@pytest.mark.parametrize(
    ("shift", "refused"), [(0.001, False), (-0.001, False), (0.00101, True), (-0.002, True)]
)
def test_a_teacher_is_tested_again_when_it_is_loaded(teacher, tmp_path, shift, refused):
    """Its record is altered, which is as if its data or the arithmetic were."""
    altered = tmp_path / "teacher"
    shutil.copytree(teacher, altered)
    record = json.loads((teacher / "run.json").read_text())
    record["validation_accuracy"] += shift
    (altered / "run.json").write_text(json.dumps(record))
    if refused:
        with pytest.raises(ValueError, match=r"the teacher's validation accuracy is .* here in"):
            train(tmp_path / "student", *SHORT, teacher=altered)
        assert not (tmp_path / "student").exists()
    else:
        train(tmp_path / "student", *SHORT, teacher=altered)


def test_a_record_describes_how_the_teacher_answered(teacher, tmp_path):
    folded = ["run.teacher.folded=true", "run.teacher.precision=bfloat16"]
    assert read_record(teacher / "run.json")["teacher_pass"] is None
    for name, settings in {
        "plain": ["run.teacher.precision=bfloat16"],
        "bfloat16": folded,
        "refused": [*folded, "run.teacher.tolerance=1e-9"],
    }.items():
        record = train(tmp_path / name, *SHORT, *settings, teacher=teacher)
        found = record["teacher_pass"]
        if name == "plain":
            assert found == {"precision": "bfloat16"}
            continue
        assert found["folded"] == 4  # the stem's norm, and in three blocks the inner one
        assert found["errors"].keys() == {"logits", "stage1", "stage2", "stage3"}
        rounding = {"bfloat16": 2**-8, "refused": 2**-24}[name]
        assert 0 < max(found["errors"].values()) < 100 * rounding  # through eight layers
        assert ("refused" in found) == (name == "refused")
        assert found["precision"] == {"bfloat16": "bfloat16", "refused": "float32"}[name]


def test_errors_that_are_not_finite_can_be_recorded():
    copied = InferenceCopy(torch.nn.Identity(), "float32", (), {"": 0.0}, {"": torch.inf})
    teacher_pass = TeacherPass(copied.network, copied.precision, copied=copied)
    assert teacher_pass.describe()["refused"] == {"logits": None}


def test_a_run_is_the_same_wherever_its_data_lie(cifar, tmp_path):
    """Moved data: a finished run is known again, and its teacher is tested where they lie now."""
    shutil.copytree(cifar / "a", tmp_path / "b")
    there = [f'data.dir="{tmp_path / "b"}"', f'data.cache="{tmp_path / "cache-b"}"']
    here = [f'data.dir="{cifar / "a"}"', f'data.cache="{cifar / "cache-a"}"']
    settings = ["method=kd", "labels=label-free"]
    options = {"teacher": cifar / "teacher", "resume": True}
    first = student(tmp_path / "run", *settings, *here, **options)
    assert student(tmp_path / "run", *settings, *there, **options) == first
    moved = student(tmp_path / "moved", *settings, *there, **options)
    assert moved["weights_sha256"] == first["weights_sha256"]
    with pytest.raises(ValueError, match="holds a finished run of another configuration"):
        student(tmp_path / "run", *settings, *there, "run.seed=1", **options)


def test_label_free_training_does_without_the_file_of_labels(cifar, tmp_path):
    """Noise in its place changes no weight; deleted, it is neither missed nor made again."""
    cache = tmp_path / "cache"
    shutil.copytree(cifar / "cache-a", cache)
    settings = [f'data.dir="{cifar / "a"}"', f'data.cache="{cache}"', "method=fa"]
    settings.append("labels=label-free")
    options = {"teacher": cifar / "teacher"}
    first = student(tmp_path / "first", *settings, **options)
    (labels,) = cache.rglob("train_labels.npy")
    np.save(labels, np.random.default_rng(2).permutation(np.load(labels)))
    noisy = student(tmp_path / "noisy", *settings, **options)
    labels.unlink()
    without = student(tmp_path / "without", *settings, **options)
    assert first["weights_sha256"] == noisy["weights_sha256"] == without["weights_sha256"]
    assert not labels.exists()


def test_a_tap_named_twice_is_refused():
    taps = [
        'objective.fa.taps=["stage3", "stage3"]',
        'objective.fa.teacher_taps=["stage2", "stage3"]',
    ]
    with pytest.raises(ValueError, match="each of the student's maps is compared once"):
        load_config("digits-fa", taps)


def test_a_grid_on_images_without_labels_has_no_accuracies(cifar, tmp_path, capsys):
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(1)
    for number in range(60):
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
    folder = [
        'data.name="folder"',
        f'data.dir="{tmp_path / "images"}"',
        f'data.cache="{tmp_path / "cache"}"',
        "data.size=32",
        "data.classes=10",
        "data.labels=false",
        HELD_OUT,
    ]
    words = ["grid", "digits-kd", *folder, *TINY, *SHORT]
    places = ["--teacher", str(cifar / "teacher"), "--out", str(tmp_path / "grid")]
    assert main([*words, *places]) == 0
    assert "validation –, test –" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["meta", "cuda:99", "abacus"])
def test_a_device_that_is_not_there_or_trains_nothing_is_refused(name, tmp_path, capsys):
    words = ["teacher", "digits-teacher", "--device", name, "--out", str(tmp_path / "run")]
    assert main(words) == 2
    assert f"device is '{name}', which torch does not find" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_record_without_its_configuration_is_refused(tmp_path, capsys):
    (tmp_path / "run.json").write_text('{"schema": 1}')
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "lacks config, weights_sha256; run the training again" in capsys.readouterr().err
