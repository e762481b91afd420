"""The command faqd-train data: what it prints and draws are the data."""

import re

import numpy as np
import pytest
from PIL import Image
from tiny_data import random_images, write_cifar10, write_image

from faqd_train import data
from faqd_train.cli import main
from faqd_train.config.schema import DataConfig
from faqd_train.data.sheet import contact_sheet


@pytest.fixture
def folder(tmp_path):
    write_cifar10(tmp_path / "source", np.random.default_rng(0))
    return tmp_path


def options(folder):
    return ["--dir", str(folder / "source"), "--cache", str(folder / "cache"), "--held-out", "10"]


def test_prepare_tells_where_the_cache_is_and_does_it_once(folder, capsys):
    assert main(["data", "prepare", "cifar10", *options(folder)]) == 0
    assert f"cifar10: 72 images in {folder / 'cache' / 'cifar10-10'}" in capsys.readouterr().out
    files = {path: path.stat().st_mtime_ns for path in (folder / "cache").rglob("*.npy")}
    assert main(["data", "prepare", "cifar10", *options(folder)]) == 0
    assert files == {path: path.stat().st_mtime_ns for path in (folder / "cache").rglob("*.npy")}


def test_inspect_prints_shapes_counts_statistics_and_hashes(folder, capsys):
    assert main(["data", "inspect", "cifar10", *options(folder)]) == 0
    output = capsys.readouterr().out
    config = DataConfig(name="cifar10", dir=folder / "source", cache=folder / "cache", held_out=10)
    images = data.load_images(config, "train")
    assert f"train       50 × 3 × 32 × 32, {data.fingerprint(images)}" in output
    assert f"mean        {images[:, 0].double().mean():.3f} " in output
    counted = [[int(n) for n in re.findall(r"\d+", line.partition("class ")[2])][1:]
               for line in output.splitlines() if " class " in line]  # fmt: skip
    columns = np.array(counted).T
    for split, column in zip(("train", "validation", "test"), columns, strict=True):
        labels = data.load_labels(config, split)
        assert list(column) == labels.bincount(minlength=10).tolist()


def test_digits_need_no_preparation_and_unlabelled_images_have_no_classes(tmp_path, capsys):
    assert main(["data", "prepare", "digits"]) == 0
    assert "there is nothing to prepare" in capsys.readouterr().out
    for number, image in enumerate(random_images(np.random.default_rng(0), 30, 3, 8, 8)):
        write_image(tmp_path / "source" / f"{number}.png", image)
    flat = ["folder", *options(tmp_path), "--size", "8"]
    assert main(["data", "inspect", *flat]) == 0
    assert "classes     none: the images have no labels" in capsys.readouterr().out
    assert main(["data", "sheet", *flat, "--out", str(tmp_path / "sheet.png")]) == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.height == 30 + 10 * 52  # ten rows of images, six times as large


def test_a_sheet_shows_the_images_of_each_class_in_its_row():
    rng = np.random.default_rng(0)
    images = random_images(rng, 40, 3, 48, 48)
    images[0, 0, 0, 0] = 255  # nothing is stretched
    labels = np.arange(40) % 4
    sheet = np.asarray(contact_sheet(images, labels, ("a", "b", "c", "d"), "title"))
    for number in range(32):  # eight a row
        row, column = number % 4, number // 4
        tops = 30 + 52 * row
        image = images[number].transpose(1, 2, 0)
        left = [
            x
            for x in range(sheet.shape[1] - 48)
            if np.array_equal(sheet[tops : tops + 48, x : x + 48], image)
        ]
        assert len(left) == 1
        assert column == (left[0] - 8) // 52


def test_digits_are_stretched_to_white(tmp_path):
    assert main(["data", "sheet", "digits", "--out", str(tmp_path / "digits.png")]) == 0
    with Image.open(tmp_path / "digits.png") as image:
        sheet = np.asarray(image)
    assert sheet[40:, 100:, 0].min() == 0  # the images' black
    assert sheet.max() == 255


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "cifar11"], r"data\.name is 'cifar11'; input should be 'digits', 'cifar10'"),
        (["prepare", "folder", "--size", "8"], r"data\.dir is not set, and folder is read from"),
        (["prepare", "cifar10", "--size", "8"], r"data\.size is 8 with data\.name 'cifar10'"),
        (["prepare", "cifar10", "--held-out", "0"], r"data\.held_out is 0; input should be"),
        (
            ["prepare", "fashion-mnist", "--dir", "nowhere"],
            r"nowhere is not a folder; give",
        ),
    ],
)
def test_bad_requests_are_refused_in_one_line_with_code_2(arguments, message, tmp_path, capsys):
    assert main(["data", *arguments, "--cache", str(tmp_path / "cache")]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("\n") == 1
