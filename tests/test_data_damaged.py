"""Data folders with one file damaged: each refused in one line with exit code 2, nothing kept.

The folders are small and in the official layouts. Untouched, each is accepted.
"""

import shutil
from functools import partial

import numpy as np
import pytest
from tiny_data import (
    random_images,
    write_cifar10,
    write_fashion_mnist,
    write_image,
    write_tiny_imagenet,
)

from faqd_train.cli import main


def write_folder(root, rng):
    for number, image in enumerate(random_images(rng, 40, 3, 8, 8)):
        write_image(root / str(number % 2) / f"{number}.png", image)


MAKERS = {
    "cifar10": write_cifar10,
    "fashion-mnist": partial(write_fashion_mnist, count=20),
    "tiny-imagenet": partial(write_tiny_imagenet, tested=range(4)),
    "folder": write_folder,
}
OPTIONS = ["--held-out", "10"]


def junk(content):
    """Return other bytes of the same length; the generator's seed is fixed."""
    return np.random.default_rng(0).integers(0, 256, len(content), np.uint8).tobytes()


DAMAGES = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda _: b"",
    "junk": junk,
    "removed": None,
}
# Names of the files to damage; of many alike, one.
FILES = {
    "cifar10": [
        *(f"cifar-10-batches-py/data_batch_{number}" for number in range(1, 6)),
        "cifar-10-batches-py/test_batch", "cifar-10-batches-py/batches.meta",
    ],
    "fashion-mnist": [
        f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in
        ("images-idx3", "labels-idx1")
    ],
    "tiny-imagenet": [
        "wnids.txt", "val/val_annotations.txt", "train/n893/images/n893_0.png",
        "val/images/val_2.png",
    ],
    "folder": ["0/4.png", "1/7.png"],
}  # fmt: skip
ACCEPTED = {  # what remains is a folder of fewer images, or of images alone
    ("folder", "0/4.png", "removed"),
    ("folder", "1/7.png", "removed"),
}
CASES = [
    (name, file, damage)
    for name, files in FILES.items()
    for file in files
    for damage in DAMAGES
    if (name, file, damage) not in ACCEPTED
]


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Make the four folders once; tests copy them."""
    root = tmp_path_factory.mktemp("originals")
    for name, make in MAKERS.items():
        make(root / name, np.random.default_rng(0))
    return root


def prepare(name, folder, cache):
    size = ["--size", "8"] if name == "folder" else []
    where = ["--dir", str(folder), "--cache", str(cache)]
    return main(["data", "prepare", name, *where, *size, *OPTIONS])


def files_below(folder):
    """Return the files of a cache, the empty ones apart by which processes wait for each other."""
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]


def expect_refusal(code, capsys, folder, cache):
    error = capsys.readouterr().err
    assert code == 2
    assert error.count("\n") == 1
    assert str(folder) in error
    assert not files_below(cache)


@pytest.mark.parametrize("name", MAKERS)
def test_untouched_folders_are_accepted(name, originals, tmp_path):
    assert prepare(name, originals / name, tmp_path / "cache") == 0
    assert files_below(tmp_path / "cache")


@pytest.mark.parametrize(("name", "file", "damage"), CASES, ids=map("-".join, CASES))
def test_a_damaged_file_is_refused_in_one_line_with_code_2(
    name, file, damage, originals, tmp_path, capsys
):
    folder, cache = tmp_path / name, tmp_path / "cache"
    shutil.copytree(originals / name, folder)
    change = DAMAGES[damage]
    path = folder / file
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    expect_refusal(prepare(name, folder, cache), capsys, folder, cache)


def test_an_image_that_the_annotations_leave_out_is_named(originals, tmp_path, capsys):
    folder = tmp_path / "tiny-imagenet"
    shutil.copytree(originals / "tiny-imagenet", folder)
    path = folder / "val" / "val_annotations.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    assert prepare("tiny-imagenet", folder, tmp_path / "cache") == 2
    assert (
        "val_annotations.txt lists 3 images, not val_0.png, which is there"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("kind", ["absent", "empty", "file"])
def test_a_folder_that_is_none_is_refused(name, kind, tmp_path, capsys):
    folder, cache = tmp_path / name, tmp_path / "cache"
    if kind == "empty":
        folder.mkdir()
    elif kind == "file":
        folder.write_bytes(b"no folder")
    expect_refusal(prepare(name, folder, cache), capsys, folder, cache)


@pytest.mark.parametrize("name", MAKERS)
def test_a_run_on_a_damaged_folder_leaves_nothing(name, originals, tmp_path, capsys):
    folder, cache, out = tmp_path / name, tmp_path / "cache", tmp_path / "out"
    shutil.copytree(originals / name, folder)
    path = folder / FILES[name][0]
    path.write_bytes(junk(path.read_bytes()))
    size = ["data.size=8"] if name == "folder" else []
    where = [f"data.name={name}", f"data.dir={folder}", f"data.cache={cache}"]
    command = ["teacher", "digits-teacher", *where, *size, "data.held_out=10", "--out", str(out)]
    expect_refusal(main(command), capsys, folder, cache)
    assert not out.exists()
