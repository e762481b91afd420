"""Tiny ImageNet in its official folder: 200 classes of images of 64 × 64 pixels.

Its test images have no public labels, so the official validation images are tested on, as is
usual; the validation split is held out of train as everywhere.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from faqd_train.data.pools import Collection, Labels
from faqd_train.data.readers.folders import list_images
from faqd_train.data.readers.image_files import file_pool

_SIDE = 64


def read_tiny_imagenet(directory: Path) -> Collection:
    """List the images and labels of the folder, or of its sub-folder tiny-imagenet-200.

    Raises
    ------
    ValueError
        If a list or an image is missing or names what is not there. Images are decoded later.
    """
    inner = directory / "tiny-imagenet-200"
    root = inner if inner.is_dir() else directory
    codes = [line.strip() for line in _lines(root / "wnids.txt") if line.strip()]
    words = dict(line.partition("\t")[::2] for line in _lines(root / "words.txt"))
    files: list[Path] = []
    labels: list[int] = []
    for label, code in enumerate(codes):
        images = list_images(root / "train" / code / "images").files
        files += images
        labels += [label] * len(images)
    test_files, test_labels = _annotated(root / "val", codes)
    return Collection(
        file_pool(files, np.array(labels), _SIDE, exact=True),
        file_pool(test_files, test_labels, _SIDE, exact=True),
        tuple(words.get(code, code).split(",")[0].strip() for code in codes),
        (*files, *test_files, root / "wnids.txt", root / "val" / "val_annotations.txt"),
    )


def _annotated(folder: Path, codes: list[str]) -> tuple[list[Path], Labels]:
    """Return the validation images and labels that val_annotations.txt gives."""
    path = folder / "val_annotations.txt"
    numbers = {code: label for label, code in enumerate(codes)}
    files, labels = [], []
    for line in _lines(path):
        name, _, rest = line.partition("\t")
        code = rest.partition("\t")[0]
        if code not in numbers:
            raise ValueError(
                f"{path} gives {name!r} the class {code!r}, which wnids.txt does not list; get "
                f"the official file."
            )
        file = folder / "images" / name
        if not file.is_file():
            raise ValueError(f"{file} is missing, though {path.name} lists it; get it anew.")
        files.append(file)
        labels.append(numbers[code])
    if not files:
        raise ValueError(f"{path} is empty; one line an image is accepted: get it anew.")
    unlisted = sorted(set(list_images(folder / "images").files) - set(files))
    if unlisted:
        raise ValueError(
            f"{path} lists {len(files)} images, not {unlisted[0].name}, which is there; one line "
            f"an image is accepted: get it anew."
        )
    return files, np.array(labels)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise ValueError(
            f"{path} is missing or no text; the official folder of Tiny ImageNet has it: give "
            f"that folder in data.dir."
        ) from None
