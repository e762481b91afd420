"""Folders of images: with a sub-folder a class, or flat and without labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from faqd_train.data.pools import Collection, Labels, Pool
from faqd_train.data.readers.image_files import file_pool


@dataclass(frozen=True)
class Listing:
    """The image files of one folder; labels count in the order of class_names."""

    files: tuple[Path, ...]
    labels: Labels | None
    class_names: tuple[str, ...]


def read_image_folder(root: Path, side: int, *, exact: bool) -> Collection:
    """Read a folder of images, or its sub-folders train and test where there is a train.

    Each of them holds either images alone, without labels, or a sub-folder a class. Classes are
    numbered in alphabetical order. Hidden files are passed over.

    A sub-folder val stands in for test, as usual where test images have no public labels. The
    validation split is held out of train whatever there is, so val beside test would go unused
    and is refused.

    Parameters
    ----------
    root : Path
        The folder.
    side, exact : int, bool
        As in `file_pool`.

    Raises
    ------
    ValueError
        If the folder or a class is empty, a file lies where no image is expected, test has a
        class that train has not, or val and test are both there. Files are decoded later.
    """
    if not (root / "train").is_dir():
        train, test = list_images(root), None
    else:
        train, test = list_images(root / "train"), _list_test(root)
    names = train.class_names or (test.class_names if test else ())
    return Collection(
        _pool(train, names, side, exact),
        _pool(test, names, side, exact) if test else None,
        names,
        train.files + (test.files if test else ()),
    )


def _list_test(root: Path) -> Listing | None:
    """List the images to test on, if they lie beside train."""
    present = [root / name for name in ("test", "val") if (root / name).is_dir()]
    if len(present) > 1:
        raise ValueError(
            f"{root} holds val beside train and test; validation images are held out of train "
            f"(data.held_out), and one other folder is tested on: move val or test elsewhere, or "
            f"its images into train."
        )
    return list_images(present[0]) if present else None


def list_images(folder: Path) -> Listing:
    """List a folder's images in a fixed order, with labels if it has sub-folders."""
    if not folder.is_dir():
        raise ValueError(
            f"{folder} is not a folder; a folder of images is accepted: correct the path."
        )
    entries = _visible(folder)
    classes = [entry for entry in entries if entry.is_dir()]
    if not classes:
        if not entries:
            raise ValueError(f"{folder} is empty; a folder of images is accepted: fill it.")
        return Listing(tuple(entries), None, ())
    for entry in entries:
        if entry.is_file() and entry.suffix.lower() in Image.registered_extensions():
            raise ValueError(
                f"{entry} lies beside the class folders, so its class is unknown; move it into "
                f"one of them or remove it."
            )
    files: list[Path] = []
    labels: list[int] = []
    for label, folder_of_class in enumerate(classes):
        inside = _visible(folder_of_class)
        if not inside:
            raise ValueError(f"{folder_of_class} is empty; a class needs images: add or remove it.")
        for entry in inside:
            if entry.is_dir():
                raise ValueError(
                    f"{entry} is a folder within a class; images are accepted there: move them up."
                )
        files += inside
        labels += [label] * len(inside)
    return Listing(tuple(files), np.array(labels), tuple(entry.name for entry in classes))


def _pool(listing: Listing, names: tuple[str, ...], side: int, exact: bool) -> Pool:
    """Make a pool whose labels count in the order of names, which may have more classes."""
    labels = listing.labels
    if labels is not None:
        for name in listing.class_names:
            if name not in names:
                raise ValueError(
                    f"{listing.files[0].parent.parent / name} is a class that train has not; "
                    f"rename it or add it to train."
                )
        labels = np.array([names.index(name) for name in listing.class_names])[labels]
    return file_pool(listing.files, labels, side, exact=exact)


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
