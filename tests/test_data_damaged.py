"""Data folders with one file damaged: each refused in one line with exit code 2, nothing kept.

The folders are in the official layouts, small, and hold real digits. Untouched, each is accepted.
"""

import pickle
import shutil

import numpy as np
import pytest
from PIL import Image

from faqd_train.cli import main
from faqd_train.config.schema import DataConfig
from faqd_train.data import load_images, load_labels

COUNT = 20  # images of a file or folder
DIGITS = load_images(DataConfig(), "train")[: 5 * COUNT, 0].numpy() * 15
LABELS = load_labels(DataConfig(), "train")[: 5 * COUNT].numpy()


def pixels(side, start=0, count=COUNT):
    return np.kron(DIGITS[start : start + count], np.ones((1, side // 8, side // 8), np.uint8))


def save_images(folder, images):
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(np.stack([image] * 3, -1)).save(folder / f"{number}.png")


def make_cifar10(root):
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    for position, name in enumerate(names):
        start = position * COUNT % len(DIGITS)
        table = np.repeat(pixels(32, start).reshape(COUNT, -1), 3, axis=1)
        content = {b"data": table, b"labels": LABELS[start : start + COUNT].tolist()}
        (root / name).write_bytes(pickle.dumps(content, protocol=2))
    meta = {b"label_names": [str(digit).encode() for digit in range(10)]}
    (root / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))


def make_fashion_mnist(root):
    for part in ("train", "t10k"):
        images, labels = pixels(28 // 4 * 8)[:, :28, :28], LABELS[:COUNT].astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (root / f"{part}-{kind}-ubyte").write_bytes(header + array.tobytes())


def make_tiny_imagenet(root):
    codes = [f"n{number:08}" for number in range(200)]
    (root / "wnids.txt").write_text("\n".join(codes))
    (root / "words.txt").write_text("\n".join(f"{code}\tthing" for code in codes))
    for number, code in enumerate(codes):
        save_images(root / "train" / code / "images", pixels(64, number % 90, 1))
    save_images(root / "val" / "images", pixels(64, 0, 4))
    lines = [f"{number}.png\t{codes[number]}\t0\t0\t62\t62" for number in range(4)]
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines))


def make_folder(root):
    for digit in (0, 1):
        save_images(root / str(digit), pixels(8, digit * COUNT))


MAKERS = {
    "cifar10": make_cifar10,
    "fashion-mnist": make_fashion_mnist,
    "tiny-imagenet": make_tiny_imagenet,
    "folder": make_folder,
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
        *(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta",
    ],
    "fashion-mnist": [
        f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in
        ("images-idx3", "labels-idx1")
    ],
    "tiny-imagenet": [
        "wnids.txt", "val/val_annotations.txt", "train/n00000007/images/0.png",
        "val/images/2.png",
    ],
    "folder": ["0/3.png", "1/7.png"],
}  # fmt: skip
ACCEPTED = {  # what remains is a folder of fewer images, or of images alone
    ("folder", "0/3.png", "removed"),
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
        (root / name).mkdir()
        make(root / name)
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
        "val_annotations.txt lists 3 images, not 3.png, which is there" in capsys.readouterr().err
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
