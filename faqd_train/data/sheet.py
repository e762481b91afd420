"""A contact sheet: some images of each class side by side, to look a data set over."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from faqd_train.data.pools import Images, Labels

_LEAST_SIDE = 48  # smaller images are enlarged, pixel by pixel, to at least this
_GAP = 4
_TEXT = 15  # height of the letters, pixels
_FEW = 20  # classes; the rows of more are shorter, in several columns


def contact_sheet(
    images: Images,
    labels: Labels | None,
    class_names: Sequence[str],
    title: str,
) -> Image.Image:
    """Draw the first images of each class in a row with the class's name.

    Parameters
    ----------
    images : array (N, C, H, W), uint8
        Grey or RGB. Grey levels that end below 255 are stretched, alike in all images.
    labels : array (N,), optional
        Without them the first images are drawn in their order.
    class_names : sequence of str
        One a label.
    title : str
        Written on top.

    Returns
    -------
    PIL.Image.Image
        In RGB.
    """
    per_row = 8 if len(class_names) <= _FEW else 4
    if labels is None:
        rows = [
            ("", np.arange(start, start + per_row)) for start in range(0, 10 * per_row, per_row)
        ]
        rows = [(name, chosen[chosen < len(images)]) for name, chosen in rows]
    else:
        rows = [
            (f"{name} ({(labels == label).sum():,})", np.flatnonzero(labels == label)[:per_row])
            for label, name in enumerate(class_names)
        ]
    font = ImageFont.load_default(_TEXT)
    zoom = math.ceil(_LEAST_SIDE / images.shape[-1])
    side = zoom * images.shape[-1] + _GAP
    text_width = max(math.ceil(font.getlength(name)) for name, _ in rows) + 2 * _GAP
    block = text_width + per_row * side + 4 * _GAP
    blocks = max(1, round(math.sqrt(len(rows) * side / block)))  # about a square
    below, head = math.ceil(len(rows) / blocks), 2 * _TEXT
    width = max(blocks * block, math.ceil(font.getlength(title)) + 2 * _GAP)
    sheet = Image.new("RGB", (width, head + below * side), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, head / 2), title, "black", font, anchor="lm")
    # Digits' grey levels end at 16: judged by the drawn images, for the others are many.
    brightest = max(int(images[chosen].max()) for _, chosen in rows if len(chosen))
    for number, (name, chosen) in enumerate(rows):
        left, top = number // below * block, head + number % below * side
        draw.text((left + text_width - _GAP, top + side / 2), name, "black", font, anchor="rm")
        for place, index in enumerate(chosen):
            sheet.paste(
                _enlarged(images[index], zoom, brightest), (left + text_width + place * side, top)
            )
    return sheet


def _enlarged(image: Images, zoom: int, brightest: int) -> Image.Image:
    stretched = (image.astype(np.uint16) * 255 // max(brightest, 1)).astype(np.uint8)
    pixels = np.broadcast_to(stretched.transpose(1, 2, 0), (*image.shape[1:], 3))
    return Image.fromarray(pixels.repeat(zoom, 0).repeat(zoom, 1))
