"""The real data sets, where an environment variable gives the folder that holds one."""

import os
from pathlib import Path

import numpy as np
import pytest

from faqd_train import data
from faqd_train.config.schema import DataConfig

# Variable, images of train and test, of a class in train and in test, and the mean over the
# whole training set as it is commonly published, in units of 255.
REAL = {
    "cifar10": ("FAQD_CIFAR10", 50_000, 10_000, 5000, 1000, (0.4914, 0.4822, 0.4465)),
    "cifar100": ("FAQD_CIFAR100", 50_000, 10_000, 500, 100, (0.5071, 0.4865, 0.4409)),
    "tiny-imagenet": ("FAQD_TINY_IMAGENET", 100_000, 10_000, 500, 50, (0.4802, 0.4481, 0.3975)),
    "fashion-mnist": ("FAQD_FASHION_MNIST", 60_000, 10_000, 6000, 1000, (0.2860,)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_a_real_data_set_has_its_published_counts_and_mean(name, tmp_path):
    variable, train, test, in_train, in_test, mean = REAL[name]
    if variable not in os.environ:
        pytest.skip(f"{variable} does not give the folder of {name}")
    config = DataConfig(name=name, dir=Path(os.environ[variable]), cache=tmp_path)
    parts = {split: data.load_images(config, split) for split in ("train", "validation", "test")}
    assert len(parts["train"]) == train - 5000
    assert len(parts["validation"]) == 5000
    assert len(parts["test"]) == test
    held_in, held_out, tested = (
        data.load_labels(config, split).bincount() for split in parts
    )  # fmt: skip
    assert (held_in + held_out == in_train).all()
    assert (tested == in_test).all()
    # 5,000 held-out images and four published digits move it by less than 0.002.
    found = np.array(data.load_preparation(config).statistics.mean) / 255
    np.testing.assert_allclose(found, mean, atol=0.002)
