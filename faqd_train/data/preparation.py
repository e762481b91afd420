"""From a batch of uint8 images to a network's input: augmented, resized, normalised."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from faqd_train.config.schema import DataConfig
from faqd_train.data.augmentation import random_flip, random_resized_crop, random_shift, resize
from faqd_train.data.statistics import Statistics, pixel_statistics


@dataclass(frozen=True)
class Preparation:
    """Prepares batches on the device that holds them, alike for teacher and student.

    The settings are those of `DataConfig`.
    """

    statistics: Statistics
    shift: int = 0
    flip: bool = False
    crop_area: float | None = None
    input_size: int | None = None

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return images (B, C, H, W), uint8, as float32 of mean 0 and deviation 1.

        Parameters
        ----------
        images : Tensor (B, C, H, W), uint8
            A batch, on any device.
        generator : torch.Generator, optional
            Source of the random changes; without it nothing is changed at random.
        """
        size = self.input_size or images.shape[-1]
        if generator is not None:
            if self.shift > 0:
                images = random_shift(images, self.shift, generator)
            if self.flip:
                images = random_flip(images, generator)
        inputs = images.float()
        if generator is not None and self.crop_area is not None:
            inputs = random_resized_crop(inputs, size, self.crop_area, generator)
        elif size != images.shape[-1]:
            inputs = resize(inputs, size)
        mean, std = (
            _on_device(values, images.device)
            for values in (self.statistics.mean, self.statistics.std)
        )
        return (inputs - mean) / std


def make_preparation(train_images: Tensor, shift: int = 0) -> Preparation:
    """Take mean and standard deviation of each channel from the training images themselves."""
    return Preparation(pixel_statistics(train_images.numpy()), shift)


def preparation_of(statistics: Statistics, config: DataConfig) -> Preparation:
    """Return the preparation that a configuration describes.

    Raises
    ------
    ValueError
        If ``data.mean`` has not one number for each channel of the statistics.
    """
    if config.mean is not None and config.std is not None:
        if len(config.mean) != len(statistics.mean):
            raise ValueError(
                f"data.mean has {len(config.mean)} channels and the images have "
                f"{len(statistics.mean)}; one number per channel is accepted: change data.mean and "
                f"data.std."
            )
        statistics = Statistics(
            tuple(255 * value for value in config.mean), tuple(255 * value for value in config.std)
        )
    return Preparation(
        statistics,
        shift=config.shift,
        flip=config.flip,
        crop_area=config.crop_area,
        input_size=config.input_size,
    )


@cache
def _on_device(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Keep a channel's constants where they are used: copying them each batch would wait."""
    return torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]
