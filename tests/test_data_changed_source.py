"""A cache whose source has changed is built again; one whose source is gone serves on."""

import hashlib
import json
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from tiny_data import (
    everything,
    random_images,
    same,
    small_cifar10,
    write_cifar10,
    write_image,
)

from faqd_train import data
from faqd_train.config.schema import DataConfig
from faqd_train.data.cache import RECORD
from faqd_train.data.loading import cache_folder
from faqd_train.data.readers.cifar import CIFAR10
from faqd_train.data.splits import SPLITS


@pytest.fixture
def config(tmp_path):
    return small_cifar10(tmp_path)


@pytest.fixture
def pictures(tmp_path):
    """Write a folder of images with class sub-folders; return its configuration."""
    rng = np.random.default_rng(2)
    for number, image in enumerate(random_images(rng, 20, 3, 8, 8)):
        write_image(tmp_path / "pictures" / "train" / "ab"[number % 2] / f"{number}.png", image)
    return DataConfig(name="folder", dir=tmp_path / "pictures", cache=tmp_path / "cache", size=8)


def count(config):
    return sum(len(data.load_images(config, split)) for split in SPLITS)


def move_times(path):
    """Give a file the time of a later writing, whatever the clock's steps."""
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


CHANGES = {  # and how many images there are then
    "added image": (lambda root: shutil.copy(root / "a/0.png", root / "a/new.png"), 21),
    "removed image": (lambda root: (root / "b/3.png").unlink(), 19),
    "replaced image": (lambda root: shutil.copy(root / "a/0.png", root / "a/2.png"), 20),
    "touched image": (lambda root: move_times(root / "a/2.png"), 20),
    "renamed image": (lambda root: (root / "a/2.png").rename(root / "a/two.png"), 20),
    "new class": (lambda root: shutil.copytree(root / "a", root / "c"), 30),
    "removed class": (lambda root: shutil.rmtree(root / "b"), 10),
    "new test folder": (lambda root: shutil.copytree(root, root.parent / "test"), 40),
}


@pytest.mark.parametrize(("change", "images"), CHANGES.values(), ids=CHANGES)
def test_a_changed_folder_is_read_again_once(change, images, pictures, caplog):
    assert count(pictures) == 20
    assert not caplog.records
    change(pictures.dir / "train")
    assert count(pictures) == images
    (warning,) = caplog.messages
    assert warning.startswith(f"{pictures.dir} has changed since {cache_folder(pictures)} was made")
    assert warning.endswith("the cache is built again.")


@pytest.mark.parametrize("batch", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_changed_file_of_many_images_is_read_again(batch, config, caplog):
    before = everything(config)
    move_times(config.dir / "cifar-10-batches-py" / batch)
    assert same(before, everything(config))  # written anew with the same content
    (warning,) = caplog.messages
    assert "has changed since" in warning


def test_a_changed_archive_is_read_again(config, tmp_path, caplog):
    archived = config.model_copy(update={"dir": tmp_path / "archived"})
    archived.dir.mkdir()
    truths = []
    for seed in (0, 1):
        shutil.rmtree(config.dir)
        write_cifar10(config.dir, np.random.default_rng(seed))
        with tarfile.open(archived.dir / CIFAR10.archive, "w:gz") as archive:
            archive.add(config.dir / CIFAR10.folder, CIFAR10.folder)
        truths.append(everything(archived))
    assert not same(*truths)
    assert f"{CIFAR10.archive} has changed since" in caplog.text


@pytest.mark.parametrize("emptied", [False, True])
def test_a_folder_that_vanishes_in_whole_is_no_change(emptied, pictures, caplog):
    assert count(pictures) == 20
    shutil.rmtree(pictures.dir)
    if emptied:
        pictures.dir.mkdir()  # as an unmounted disk leaves it
    assert count(pictures) == 20
    assert not caplog.records


def test_a_file_with_labels_that_vanishes_from_the_source_is_no_change(config, caplog):
    """A cache serves label-free runs, whose label files may have been deleted everywhere."""
    before = everything(config)
    (config.dir / "cifar-10-batches-py" / "batches.meta").unlink()
    assert same(before, everything(config))
    assert not caplog.records


def test_a_source_is_compared_without_opening_it(pictures, config, monkeypatch):
    for data_set in (pictures, config):
        data.load_images(data_set, "train")
    opened = []
    path_open = Path.open

    def watched(path, *arguments, **options):
        opened.append(path)
        return path_open(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", watched)
    for data_set in (pictures, config):
        data.load_images(data_set, "train")
    assert {path.name for path in opened} <= {RECORD, "train_images.npy"}


def test_a_cache_that_recorded_no_state_serves_on(pictures, caplog):
    count(pictures)
    path = cache_folder(pictures) / RECORD
    body = json.loads(path.read_text())["record"]
    del body["source"]
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({"sha256": digest, "record": body}))
    move_times(pictures.dir / "train/a/0.png")
    assert count(pictures) == 20
    assert not caplog.records


def test_a_source_may_lie_behind_a_link(config, tmp_path, caplog):
    (config.dir / CIFAR10.folder).rename(tmp_path / "elsewhere")
    (config.dir / CIFAR10.folder).symlink_to(tmp_path / "elsewhere")
    assert same(everything(config), everything(config))
    assert not caplog.records
