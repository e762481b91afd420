"""Mean and standard deviation of a data set's pixels, channel by channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from faqd_train.data.pools import Images


@dataclass(frozen=True)
class Statistics:
    """In units of uint8 grey levels, one number a channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]  # with the divisor n − 1


def pixel_statistics(images: Images) -> Statistics:
    """Return each channel's mean and standard deviation over all images (N, C, H, W).

    They are computed from the counts of the 256 grey levels, so they are correctly rounded
    for any number of images and do not depend on their order.

    Examples
    --------
    >>> pixel_statistics(np.array([0, 255], np.uint8).reshape(2, 1, 1, 1))
    Statistics(mean=(127.5,), std=(180.31222920256963,))
    """
    counts = np.zeros((images.shape[1], 256), np.int64)
    for start in range(0, len(images), 1000):  # a mapped file need not fit into memory
        part = images[start : start + 1000]
        for channel, pixels in enumerate(np.moveaxis(part, 1, 0)):
            counts[channel] += np.bincount(pixels.ravel(), minlength=256)
    levels = np.arange(256)
    total = counts.sum(1)
    mean = counts @ levels / total
    squares = (counts * (levels - mean[:, None]) ** 2).sum(1)
    return Statistics(tuple(mean.tolist()), tuple(np.sqrt(squares / (total - 1)).tolist()))
