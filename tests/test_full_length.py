"""The script of the full-length experiments, rehearsed: its slices, and the way home."""

import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_data import write_cifar10
from tiny_runs import assert_same_run

from analysis import full_length
from analysis.full_length import (
    GROUPS,
    LEAST_SECONDS,
    METHODS,
    RESERVE,
    Places,
    configs_of,
    main,
    pack,
    train_slice,
    unpack,
)
from faqd_train.cli import main as faqd_train
from faqd_train.networks.cifar_resnet import cifar_resnet

TINY = (
    "data.held_out=10",
    "model.depth=8",
    "optimizer.epochs=2",
    "optimizer.batch_size=20",
    "run.compile=false",
)
GROUP = replace(GROUPS[0], methods=("fa", "kd"))


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("full-length")
    write_cifar10(root / "data" / "cifar10", np.random.default_rng(0))
    cache = f'data.cache="{root / "cache"}"'
    place = [f'data.dir="{root / "data" / "cifar10"}"', cache, "data.held_out=10"]
    for name in ("cifar10-resnet56", "cifar10-resnet20"):
        network = cifar_resnet(8, generator=torch.Generator().manual_seed(0))
        torch.save(network.state_dict(), root / f"{name}.pth")
        words = ["import", str(root / f"{name}.pth"), "data.name=cifar10", *place]
        assert faqd_train([*words, "--out", str(root / "networks" / name)]) == 0
    return Places(root / "data", root / "networks", root / "runs", (*TINY, cache))


def test_every_group_is_a_configuration(places):
    for group in GROUPS:
        for device in ("cpu", "cuda"):
            configs = configs_of(group, replace(places, settings=()), device, 0)
            assert len(configs) == len(group.bits) * len(group.methods)
            teachers = {config.objective.needs_teacher for config in configs.values()}
            assert teachers == {group.teacher is not None}
    assert {method for group in GROUPS for method in group.methods} == set(METHODS)


def test_slices_end_where_one_long_run_ends_by_way_of_tar_files(places, tmp_path, monkeypatch):
    whole, cut = replace(places, out=tmp_path / "whole"), replace(places, out=tmp_path / "cut")
    lines = list(train_slice(whole, seconds=600, groups=[GROUP]))
    assert [line.rpartition(" ")[2] for line in lines] == ["finished", "finished"]
    lines = list(train_slice(cut, seconds=RESERVE + LEAST_SECONDS / 2, groups=[GROUP]))
    assert all(line.endswith("not begun") for line in lines)  # so little time is not used
    monkeypatch.setattr(full_length, "LEAST_SECONDS", -60.0)
    lines = list(train_slice(cut, seconds=RESERVE, groups=[GROUP]))
    assert all("unfinished, the end of the time budget came in epoch 1" in line for line in lines)
    home = replace(places, out=tmp_path / "home")
    unpack(pack(cut.out, tmp_path / "tars"), home.out)
    assert main(["pack", str(cut.out), "--out", str(tmp_path / "tars")]) == 0
    list(train_slice(home, seconds=600, groups=[GROUP]))
    for method in GROUP.methods:
        folder = f"{GROUP.name}/{method}-4w4a-seed0"
        assert_same_run(home.out / folder, whole.out / folder)


def test_a_tar_file_that_leaves_its_folder_is_refused(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with tarfile.open(tmp_path / "runs-0.tar", "w") as tar:
        tar.add(tmp_path / "run.json", arcname="../outside.json")
    with pytest.raises(tarfile.OutsideDestinationError):
        unpack([tmp_path / "runs-0.tar"], tmp_path / "out")
    assert not (tmp_path / "outside.json").exists()
