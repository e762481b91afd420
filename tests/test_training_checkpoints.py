"""Checkpoint files: whole or refused, never run, never lost."""

import errno
import hashlib
import os
import pickle
import stat
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from faqd_train import files
from faqd_train.training.checkpoints import (
    LAST,
    PREVIOUS,
    Checkpoints,
    has_checkpoint,
    pack,
    read_newest,
    remove_checkpoints,
    unpack,
)

IDENTITY = {"config": {"optimizer": {"lr": 0.1}, "run": {"seed": 0}}}


def tree():
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(3, 4, generator=generator)
    return {
        "weights": {"a": shared, "again": shared, "turned": shared.T, "one": torch.tensor(2.5)},
        "types": [shared.double(), shared.bfloat16(), torch.tensor([1, 2]), torch.tensor([True])],
        "generator": generator.get_state(),
        "plain": {"none": None, "number": 0.1 + 0.2, "list": [1, "two", False], "empty": {}},
    }


def assert_same(first, second):
    assert type(first) is type(second)
    if isinstance(first, torch.Tensor):
        assert first.dtype == second.dtype
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert list(first) == list(second)
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, list):
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    else:
        assert first == second


def test_what_is_unpacked_is_what_was_packed():
    assert_same(unpack(pack(tree())), tree())


def flipped(content, place, rng):
    altered = bytearray(content)
    altered[place] ^= rng.integers(1, 256)
    return bytes(altered)


@pytest.mark.parametrize("damage", [flipped, lambda content, place, _: content[:place]])
def test_200_damaged_files_are_200_refusals(damage):
    content, rng = pack(tree()), np.random.default_rng(0)
    for place in rng.choice(len(content), 200, replace=False):
        with pytest.raises(ValueError, match="is torn, altered or not a checkpoint"):
            unpack(damage(content, place, rng))


class Malice:
    """Creates a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return subprocess.check_call, (["touch", str(self.path)],)


@pytest.mark.parametrize("form", ["pickle", "torch.save", "with a right digest"])
def test_a_pickle_offered_as_checkpoint_is_refused_and_not_run(form, tmp_path):
    proof, path = tmp_path / "it-ran", tmp_path / LAST
    if form == "torch.save":
        torch.save({"state": Malice(proof)}, path)
    else:
        content = pickle.dumps({"state": Malice(proof)})
        digest = hashlib.sha256(content).digest() if form == "with a right digest" else b""
        path.write_bytes(digest + content)
    with pytest.raises(
        ValueError, match=r"last\.checkpoint is .*not a checkpoint.*run anew"
    ) as refusal:
        read_newest(tmp_path)
    assert "\n" not in str(refusal.value)
    assert not proof.exists()
    # It could have: an ordinary unpickler runs it.
    pickle.loads(pickle.dumps(Malice(proof)))
    assert proof.exists()


@pytest.fixture
def two_checkpoints(tmp_path):
    checkpoints = Checkpoints(tmp_path, IDENTITY, resume=True)
    for epoch in (1, 2):
        checkpoints.save({"epoch": epoch})
    return checkpoints


def shorten(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "epoch"),
    [
        (lambda _: None, 2),
        (shorten, 1),
        (Path.unlink, 1),  # as a write that was cut short between its two renames leaves it
    ],
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before_and_says_so(
    damage, epoch, two_checkpoints, caplog
):
    path = two_checkpoints.folder / LAST
    damage(path)
    assert two_checkpoints.load() == {"epoch": epoch}
    assert caplog.messages == [
        f"{path} is torn, altered or not a checkpoint (its SHA-256 differs); previous.checkpoint, "
        f"the one before, is used."
    ] * (damage is shorten)


def test_two_damaged_checkpoints_are_refused(two_checkpoints):
    for name in (LAST, PREVIOUS):
        (two_checkpoints.folder / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"last\.checkpoint is torn.*, and no other is whole"):
        two_checkpoints.load()


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_loses_nothing(two_checkpoints, monkeypatch, call):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, call, full)
    with pytest.raises(
        OSError, match=r"bytes was not written in .* \(No space left on device\); .* is kept"
    ) as refusal:
        two_checkpoints.save({"epoch": 3})
    assert "\n" not in str(refusal.value)
    assert {path.name for path in two_checkpoints.folder.iterdir()} == {LAST, PREVIOUS}
    assert two_checkpoints.load() == {"epoch": 2}


def test_renames_are_made_to_last_where_the_system_can(tmp_path, monkeypatch):
    genuine, synced = os.fsync, []

    def noting(descriptor):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        synced.append((is_folder, (tmp_path / "file").exists()))
        if is_folder and len(synced) > 2:
            raise OSError(errno.EINVAL, "Invalid argument")  # some file systems cannot
        genuine(descriptor)

    def closed(*_arguments):
        raise PermissionError("folders cannot be opened")

    monkeypatch.setattr(files.os, "fsync", noting)
    files.write_atomically(tmp_path / "file", b"1")
    assert synced == [(False, False), (True, True)]
    files.write_atomically(tmp_path / "file", b"2")
    monkeypatch.setattr(files.os, "open", closed)
    files.write_atomically(tmp_path / "file", b"3")
    assert [is_folder for is_folder, _ in synced] == [False, True, False, True, False]
    assert (tmp_path / "file").read_bytes() == b"3"


def test_without_resume_nothing_is_loaded_and_an_empty_folder_has_nothing(two_checkpoints):
    folder = two_checkpoints.folder
    assert has_checkpoint(folder)
    assert Checkpoints(folder, IDENTITY).load() is None
    remove_checkpoints(folder)
    assert not has_checkpoint(folder)
    assert two_checkpoints.load() is None


def test_numbers_that_json_lacks_are_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        pack({"loss": float("nan")})


def test_the_identity_of_an_earlier_version_is_upgraded(tmp_path):
    Checkpoints(tmp_path, IDENTITY).save({"epoch": 2})
    run = IDENTITY["config"]["run"] | {"compile": True}
    identity = {"config": IDENTITY["config"] | {"run": run}}
    later = Checkpoints(tmp_path, identity, resume=True, upgrade=lambda _: identity)
    assert later.load() == {"epoch": 2}
    with pytest.raises(ValueError, match=r"config\.run\.compile is True here and None in the"):
        Checkpoints(tmp_path, identity, resume=True).load()
