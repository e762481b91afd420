"""Random changes of whole batches of images, computed where the images are.

All random numbers come from the passed generator, on its own device, so that a batch is changed
in the same way on a CPU and on a GPU.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

_NARROWEST = 3 / 4  # width : height of a random resized crop, to its inverse


def random_shift(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Translate each image (B, C, H, W) by −most … most pixels per axis, padded by zeros.

    This is a random crop of the image with a margin of ``most`` zeros.
    """
    count, _, height, width = images.shape
    offsets = torch.randint(
        2 * most + 1, (2, count, 1), generator=generator, device=generator.device
    ).to(images.device)
    rows = offsets[0] + torch.arange(height, device=images.device)
    columns = offsets[1] + torch.arange(width, device=images.device)
    padded = functional.pad(images, [most] * 4)
    sample = torch.arange(count, device=images.device)[:, None, None]
    # Indices around the channel axis come out first: (B, H, W, C).
    return padded[sample, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image (B, C, H, W) left to right with probability ½."""
    mirrored = _uniform(len(images), 0, 1, generator) < 0.5
    return torch.where(mirrored.to(images.device)[:, None, None, None], images.flip(3), images)


def random_resized_crop(
    images: Tensor, size: int, least_area: float, generator: torch.Generator
) -> Tensor:
    """Cut a random rectangle out of each image and stretch it to a square, bilinearly.

    Unlike `resize`, this is without antialiasing: it is meant for enlarging, as of Tiny ImageNet
    from 64 to 224 pixels, and rectangles much larger than ``size`` alias when they are shrunk.

    Parameters
    ----------
    images : Tensor (B, C, H, W), floating point
        A batch.
    size : int
        Side of the result, pixels.
    least_area : float in (0, 1]
        The rectangle's share of the area is uniform between this and 1; its width : height is
        log-uniform between 3:4 and 4:3, relative to the image. A side that would exceed the
        image's is cut to it.
    generator : torch.Generator
        Source of area, shape and place.

    Returns
    -------
    Tensor (B, C, size, size)

    Examples
    --------
    A constant image stays constant.

    >>> images = torch.full((2, 1, 8, 8), 7.0)
    >>> crops = random_resized_crop(images, 4, 0.5, torch.Generator().manual_seed(0))
    >>> bool((crops - 7).abs().max() < 1e-5)
    True
    """
    count = len(images)
    area = _uniform(count, least_area, 1, generator)
    ratio = _uniform(count, math.log(_NARROWEST), -math.log(_NARROWEST), generator).exp()
    width = (area * ratio).sqrt().clamp(max=1)
    height = (area / ratio).sqrt().clamp(max=1)
    # Coordinates run from −1 to 1 across the image, so a centre lies within ±(1 − side).
    x = (1 - width) * _uniform(count, -1, 1, generator)
    y = (1 - height) * _uniform(count, -1, 1, generator)
    zero = torch.zeros_like(x)
    maps = torch.stack([width, zero, x, zero, height, y], dim=1).view(count, 2, 3)
    grid = functional.affine_grid(
        maps.to(images.device, images.dtype),
        [count, images.shape[1], size, size],
        align_corners=False,
    )
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def resize(images: Tensor, size: int) -> Tensor:
    """Stretch images (B, C, H, W), floating point, to squares, bilinearly and antialiased."""
    return functional.interpolate(
        images, (size, size), mode="bilinear", align_corners=False, antialias=True
    )


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator, device=generator.device)
