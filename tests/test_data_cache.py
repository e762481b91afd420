"""The cache: checked when opened, built whole or not at all, labels apart from images."""

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest
import torch
from tiny_data import everything, left_behind, same, small_cifar10, write_cifar10

from faqd_train import data
from faqd_train.data.cache import RECORD
from faqd_train.data.loading import cache_folder


@pytest.fixture
def config(tmp_path):
    return small_cifar10(tmp_path)


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_cache_serves_without_its_source(config):
    before = everything(config)
    shutil.rmtree(config.dir)
    assert same(before, everything(config))
    assert same(before, everything(config.model_copy(update={"dir": None})))


FILES = [f"{split}_{kind}.npy" for split in ("train", "validation", "test")
         for kind in ("images", "labels")]  # fmt: skip


@pytest.mark.parametrize("file", [*FILES, RECORD])
def test_a_flipped_byte_or_lost_file_is_noticed_and_the_cache_built_again(file, config, caplog):
    before = everything(config)
    path, rng = cache_folder(config) / file, np.random.default_rng(1)
    for _ in range(5):
        flip(path, rng.integers(path.stat().st_size))
        caplog.clear()
        assert same(before, everything(config))
        assert f"{path} is" in caplog.text
        assert "the cache is built again" in caplog.text
    caplog.clear()
    assert same(before, everything(config))
    assert not caplog.records
    path.unlink()
    assert same(before, everything(config))
    assert f"{file} is missing" in caplog.text


def test_images_do_not_need_the_label_files(config, caplog):
    """Deleted and altered training labels go unnoticed by all that a label-free run calls."""
    before = everything(config)
    labels = cache_folder(config) / "train_labels.npy"
    for damage in (lambda: flip(labels, -1), labels.unlink):
        damage()
        assert torch.equal(data.load_images(config, "train"), before["train", "load_images"])
        assert torch.equal(
            data.load_labels(config, "validation"), before["validation", "load_labels"]
        )
        assert data.load_preparation(config).statistics
        assert data.describe(config).classes == 10
    assert not caplog.records
    assert not labels.exists()


def test_closed_training_labels_are_not_read(config):
    closed = config.model_copy(update={"labels": False})
    assert len(data.load_labels(closed, "validation")) == 10
    with pytest.raises(ValueError, match=r"data.labels is false, so the training labels stay shut"):
        data.load_labels(closed, "train")


def test_a_damaged_cache_without_its_source_is_refused_and_kept(config):
    data.load_images(config, "train")
    path = cache_folder(config) / "train_images.npy"
    flip(path, -1)
    shutil.rmtree(config.dir)
    with pytest.raises(ValueError, match=r"source is not a folder; give the one with cifar10"):
        data.load_images(config, "train")
    assert path.exists()


def test_another_folder_is_read_and_another_size_of_validation_has_its_own_cache(
    config, tmp_path, caplog
):
    first = everything(config)
    write_cifar10(tmp_path / "other", np.random.default_rng(1))
    second = everything(config.model_copy(update={"dir": tmp_path / "other"}))
    assert "was made of" in caplog.text
    assert not same(first, second)
    assert len(data.load_images(config.model_copy(update={"held_out": 20}), "validation")) == 20
    assert len(left_behind(config.cache)) == 2 * 8


def test_a_build_that_fails_leaves_the_old_cache_or_nothing(config, monkeypatch):
    def full(*_arguments, **_named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space left"):
        data.load_images(config, "train")
    assert not left_behind(config.cache)


def test_a_full_disk_is_noticed_before_anything_is_written(config, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(free=1000))
    with pytest.raises(ValueError, match=r"has 0.00 GB free, and the decoded images take"):
        data.load_images(config, "train")
    assert not left_behind(config.cache)


def test_a_cache_in_a_read_only_folder_is_read(config, monkeypatch):
    before = everything(config)

    def refused(*_arguments):
        raise AssertionError("a finished cache needs no lock")

    monkeypatch.setattr(data.loading, "locked", refused)
    assert same(before, everything(config))


def test_remains_of_a_killed_process_are_cleared(config):
    partial = config.cache / ".cifar10-10.partial"
    partial.mkdir(parents=True)
    (partial / "train_images.npy").write_bytes(b"half")
    assert len(data.load_images(config, "train")) == 50
    assert not partial.exists()


def test_processes_that_start_together_build_one_cache(config):
    program = (
        "import sys; from pathlib import Path; from faqd_train import data\n"
        "from faqd_train.config.schema import DataConfig\n"
        "config = DataConfig(name='cifar10', dir=Path(sys.argv[1]), cache=Path(sys.argv[2]),"
        " held_out=10)\n"
        "print(data.fingerprint(data.load_images(config, 'train')))"
    )
    command = [sys.executable, "-c", program, str(config.dir), str(config.cache)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        for _ in range(2)
    ]
    outputs = [run.communicate() for run in runs]
    expected = data.fingerprint(data.load_images(config, "train")).encode() + b"\n"
    assert outputs == [(expected, b"")] * 2


def test_splits_are_disjoint_complete_and_fixed(config):
    images = [data.load_images(config, split) for split in ("train", "validation")]
    first = [image.numpy().tobytes() for part in images for image in part]
    assert len(set(first)) == len(first) == 60
    shutil.rmtree(config.cache)
    again = [data.load_images(config, split) for split in ("train", "validation")]
    assert all(torch.equal(a, b) for a, b in zip(images, again, strict=True))


def test_statistics_are_those_of_the_training_split(config):
    pixels = data.load_images(config, "train").numpy().astype(np.float64)
    statistics = data.load_preparation(config).statistics
    # Sums of 50 · 1024 terms in float64 against correctly rounded ones: well below 1e-12.
    np.testing.assert_allclose(statistics.mean, pixels.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(statistics.std, pixels.std((0, 2, 3), ddof=1), rtol=1e-12)


def test_the_record_tells_origin_and_hashes(config):
    record = data.load_record(config)
    content = json.loads((cache_folder(config) / RECORD).read_text())["record"]
    assert content["origin"] == record.origin == str(config.dir / "cifar-10-batches-py")
    assert set(record.sha256) == set(FILES)
    flip(config.dir / "cifar-10-batches-py" / "test_batch", 2000)  # a pixel
    shutil.rmtree(config.cache)
    assert data.load_record(config).origin_sha256 != record.origin_sha256
