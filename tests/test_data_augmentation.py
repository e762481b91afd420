"""Augmentation against loops over single images, and against the laws it draws from."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from faqd_math.testing import assert_mean, assert_rate_at_most
from faqd_train.config.schema import DataConfig
from faqd_train.data import (
    load_images,
    load_preparation,
    random_flip,
    random_resized_crop,
    random_shift,
    resize,
)
from faqd_train.data.preparation import Preparation
from faqd_train.data.statistics import Statistics, pixel_statistics


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_batch(count=6, channels=3, side=8, seed=1):
    return torch.randint(
        256, (count, channels, side, side), generator=generator(seed), dtype=torch.uint8
    )


def test_shift_is_a_crop_of_the_padded_image():
    images = random_batch(40, side=5)
    shifted = random_shift(images, 4, generator())
    padded = functional.pad(images, [4] * 4)
    for image, margin in zip(shifted, padded, strict=True):
        crops = [margin[:, y : y + 5, x : x + 5] for y in range(9) for x in range(9)]
        assert any(torch.equal(image, crop) for crop in crops)


def test_shift_draws_every_offset_equally_often():
    marked = torch.zeros(20_000, 1, 9, 9, dtype=torch.uint8)
    marked[:, 0, 4, 4] = 1
    places = random_shift(marked, 4, generator()).flatten(1).argmax(1).bincount(minlength=81)
    for count in places.tolist():  # 81 two-sided tests, each false with probability 1e-8
        assert_rate_at_most(count, 20_000, 1 / 81, false_alarm=1e-8)
        assert_rate_at_most(20_000 - count, 20_000, 80 / 81, false_alarm=1e-8)


def test_flip_mirrors_half_of_the_images_whole():
    images = random_batch(4000, side=3)
    flipped = random_flip(images, generator())
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    kept = (flipped == images).flatten(1).all(1)
    assert (mirrored | kept).all()
    assert_mean(mirrored.double().numpy(), 0.5, false_alarm=1e-6)


def ramps(count, side, dtype=torch.float64):
    """Images whose two channels are the column and the row, in [−1, 1] across the image."""
    place = (2 * torch.arange(side, dtype=dtype) + 1) / side - 1
    return torch.stack(torch.meshgrid(place, place, indexing="xy")).expand(count, 2, side, side)


def rectangles(crops):
    """Read the crops' widths and heights off the ramps, away from the border."""
    middle = slice(crops.shape[-1] // 4, 3 * crops.shape[-1] // 4)
    slope_x = crops[:, 0, 0, middle].diff(dim=1).mean(1) * crops.shape[-1] / 2
    slope_y = crops[:, 1, middle, 0].diff(dim=1).mean(1) * crops.shape[-1] / 2
    return slope_x, slope_y


def test_resized_crops_have_the_stated_area_and_shape():
    crops = random_resized_crop(ramps(3000, 64), 32, 0.2, generator())
    width, height = (side.numpy() for side in rectangles(crops))
    free = (width < 0.999) & (height < 0.999)
    area = (width * height)[free]
    assert area.min() > 0.2 - 1e-9
    ratio = np.log(width / height)[free]
    # The slope of a bilinear ramp is exact to rounding, 1e-9 is far above it.
    assert np.abs(ratio).max() <= math.log(4 / 3) + 1e-9
    assert_mean(ratio, 0.0, false_alarm=1e-6)
    small = random_resized_crop(ramps(3000, 64), 32, 1e-6, generator(3))
    share = np.prod([side.numpy() for side in rectangles(small)], axis=0)
    below = share < 0.5  # never clamped there: sides ≤ √(0.5 · 4/3) < 1
    assert_mean(below.astype(float), (0.5 - 1e-6) / (1 - 1e-6), false_alarm=1e-6)


def test_resized_crops_stay_within_the_image():
    crops = random_resized_crop(ramps(2000, 32), 16, 0.1, generator())
    assert crops.abs().max() <= 1 - 1 / 32 + 1e-9  # the outermost pixels' centres


def test_resizing_enlarges_a_ramp_to_a_ramp_and_halves_by_weighted_means():
    large = resize(ramps(1, 64), 224)
    inner = slice(2, -2)  # beyond the outermost pixels' centres the ramp is flat
    torch.testing.assert_close(large[..., inner, inner], ramps(1, 224)[..., inner, inner])
    row = torch.tensor([0.0, 0, 0, 8, 0, 0, 0, 0]).expand(1, 1, 8, 8)
    # The triangle of antialiasing spans two pixels to each side: weights 1, 3, 3, 1 of 8.
    torch.testing.assert_close(resize(row, 4)[0, 0, 2], torch.tensor([0.0, 3.0, 1.0, 0.0]))


@pytest.mark.parametrize("name", ["shift", "flip", "crop"])
def test_the_same_generator_gives_the_same_batch(name):
    change = {
        "shift": lambda g: random_shift(random_batch(), 4, g),
        "flip": lambda g: random_flip(random_batch(), g),
        "crop": lambda g: random_resized_crop(random_batch().float(), 12, 0.3, g),
    }[name]
    assert torch.equal(change(generator(5)), change(generator(5)))
    assert not torch.equal(change(generator(5)), change(generator(6)))


def test_preparation_normalises_and_changes_nothing_without_a_generator():
    images = random_batch(20)
    preparation = Preparation(pixel_statistics(images.numpy()), shift=4, flip=True)
    inputs = preparation(images)
    assert torch.equal(inputs, preparation(images))
    assert inputs.dtype == torch.float32
    # float32 sums of 1,280 terms: rounding stays below 1e-5.
    torch.testing.assert_close(inputs.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(inputs.std((0, 2, 3)), torch.ones(3), atol=1e-5, rtol=0)
    assert not torch.equal(inputs, preparation(images, generator()))


def test_a_padded_pixel_is_black_before_normalisation():
    white = torch.full((50, 1, 4, 4), 255, dtype=torch.uint8)
    inputs = Preparation(Statistics((100.0,), (50.0,)), shift=2)(white, generator())
    torch.testing.assert_close(inputs.unique(), torch.tensor([-2.0, 3.1]))


def test_runs_at_224_pixels_crop_in_training_and_resize_in_evaluation():
    preparation = Preparation(
        Statistics((0.0,) * 3, (1.0,) * 3), crop_area=0.25, input_size=224, flip=True
    )
    images = random_batch(2, side=64)
    torch.testing.assert_close(preparation(images), resize(images.float(), 224))
    crops = preparation(images, generator())
    assert crops.shape == (2, 3, 224, 224)
    assert crops.min() >= 0
    assert crops.max() <= 255
    assert not torch.equal(crops, preparation(images))


@pytest.mark.parametrize(
    ("name", "shift", "flip"), [("digits", 1, False), ("cifar10", 4, True), ("folder", 4, True)]
)
def test_each_data_set_has_its_usual_augmentation(name, shift, flip):
    config = DataConfig(name=name)
    assert (config.shift, config.flip) == (shift, flip)
    assert DataConfig(name=name, crop_area=0.5).shift == 0


def test_digits_are_normalised_by_their_own_training_split():
    pixels = load_images("digits", "train").double()
    statistics = load_preparation("digits").statistics
    assert statistics.mean[0] == pytest.approx(float(pixels.mean()), rel=1e-12)
    assert statistics.std[0] == pytest.approx(float(pixels.std()), rel=1e-12)
