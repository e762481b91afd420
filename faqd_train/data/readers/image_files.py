"""Decode image files with Pillow into squares of one size."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from faqd_train.data.pools import Advance, Images, Labels, Pool

_AT_ONCE = 256
# Eight bits per channel; anything else, as 16-bit grey, would be clipped by the conversion.
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
# What Pillow raises for a file that is not an image or is cut off.
_NO_IMAGE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def file_pool(paths: Sequence[Path], labels: Labels | None, side: int, *, exact: bool) -> Pool:
    """Make a pool of image files, which are decoded in threads when the pool is written.

    Parameters
    ----------
    paths : sequence of Path
        The files.
    labels : array (N,), int64, optional
        One a file.
    side : int
        Height and width to decode to, pixels.
    exact : bool
        Refuse an image of another size; otherwise it is shrunk or enlarged until its shorter
        side fits, and its middle is cut out.
    """
    decode = partial(decode_image, side=side, exact=exact)

    def write(indices: NDArray[np.int64], out: Images, advance: Advance) -> None:
        with ThreadPoolExecutor() as threads:
            for start in range(0, len(indices), _AT_ONCE):
                chosen = [paths[index] for index in indices[start : start + _AT_ONCE]]
                for row, image in enumerate(threads.map(decode, chosen), start):
                    out[row] = image
                advance(len(chosen))

    return Pool(len(paths), (3, side, side), labels, write)


def decode_image(path: Path, side: int, *, exact: bool) -> Images:
    """Return one image as (3, side, side), uint8, in RGB and upright.

    Raises
    ------
    ValueError
        If the file is not an image, is cut off, has more than eight bits per channel, or is of
        another size and ``exact`` is set.
    """
    try:
        with Image.open(path) as image:
            image.load()
            mode, size = image.mode, image.size
            upright = ImageOps.exif_transpose(image)
    except _NO_IMAGE:
        raise ValueError(
            f"{path} is not an intact image; PNG, JPEG and what else Pillow reads is accepted: "
            f"replace or remove it."
        ) from None
    if mode not in _MODES:
        raise ValueError(
            f"{path} has pixels of mode {mode}; eight bits per channel are accepted: convert it."
        )
    if exact and size != (side, side):
        raise ValueError(
            f"{path} is {size[0]} × {size[1]} pixels; {side} × {side} is accepted here: get the "
            f"official file."
        )
    colour = upright.convert("RGB")
    if colour.size != (side, side):
        colour = ImageOps.fit(colour, (side, side), Image.Resampling.BICUBIC)
    return np.asarray(colour).transpose(2, 0, 1)
