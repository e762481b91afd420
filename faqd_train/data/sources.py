"""The data sets by name: how each is read, and what is known of it beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from faqd_train.config.schema import DataConfig, DataName
from faqd_train.data.pools import Collection
from faqd_train.data.readers.cifar import CIFAR10, CIFAR100, Layout, find_cifar, read_cifar
from faqd_train.data.readers.digits import read_digits
from faqd_train.data.readers.folders import read_image_folder
from faqd_train.data.readers.idx import read_fashion_mnist
from faqd_train.data.readers.tiny_imagenet import read_tiny_imagenet

Reading = tuple[Collection, Path]  # what was read, and where it lies


@dataclass(frozen=True)
class Source:
    """A data set. What is None is known once its files are read."""

    read: Callable[[DataConfig], Reading]
    shape: tuple[int, int, int] | None  # C, H, W
    classes: int | None
    held_out: int | None  # images of the validation split; None: a tenth


def cache_root(config: DataConfig) -> Path:
    """Return the folder that holds all caches."""
    return config.cache or user_cache_path("faqd")


def directory_of(config: DataConfig) -> Path:
    """Return ``data.dir`` whole, or say that it is needed (ValueError)."""
    if config.dir is None:
        raise ValueError(
            f"data.dir is not set, and {config.name} is read from a folder: give it in data.dir."
        )
    if not config.dir.is_dir():
        raise ValueError(
            f"{config.dir} is not a folder; give the one with {config.name} in data.dir."
        )
    return config.dir.resolve()


def _read_cifar(config: DataConfig, layout: Layout) -> Reading:
    if config.dir is None:
        from faqd_train.data.downloads import download  # imports pooch, and that a lot

        path = download(layout.url, layout.sha256, cache_root(config) / "downloads")
        return read_cifar(layout, path), path
    directory = directory_of(config)
    path = find_cifar(layout, directory)
    return read_cifar(layout, path), path


def _read_cifar100(config: DataConfig) -> Reading:
    if config.dir is not None and (config.dir / "train").is_dir():  # as PNG files
        directory = directory_of(config)
        return read_image_folder(directory, 32, exact=True), directory
    return _read_cifar(config, CIFAR100)


def _read_folder(config: DataConfig) -> Reading:
    directory = directory_of(config)
    if config.size is None:
        raise ValueError(
            "data.size is not set; a folder's images are kept as squares of one size: give their "
            "side in pixels."
        )
    return read_image_folder(directory, config.size, exact=False), directory


def _from_directory(read: Callable[[Path], Collection]) -> Callable[[DataConfig], Reading]:
    return lambda config: (read(directory_of(config)), directory_of(config))


SOURCES: dict[DataName, Source] = {
    "digits": Source(lambda _: (read_digits(), Path()), (1, 8, 8), 10, held_out=300),
    "cifar10": Source(lambda config: _read_cifar(config, CIFAR10), (3, 32, 32), 10, held_out=5000),
    "cifar100": Source(_read_cifar100, (3, 32, 32), 100, held_out=5000),
    "tiny-imagenet": Source(_from_directory(read_tiny_imagenet), (3, 64, 64), 200, held_out=5000),
    "fashion-mnist": Source(_from_directory(read_fashion_mnist), (1, 28, 28), 10, held_out=5000),
    "folder": Source(_read_folder, None, None, held_out=None),
}
