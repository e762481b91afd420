"""The command faqd-train data: prepare, inspect, sheet."""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from faqd_train.config.files import check_config
from faqd_train.config.schema import DataConfig
from faqd_train.data.cache import Progress
from faqd_train.data.loading import (
    cache_folder,
    has_labels,
    load_class_names,
    load_images,
    load_labels,
    load_preparation,
    load_record,
)
from faqd_train.data.sheet import contact_sheet
from faqd_train.data.splits import SPLITS, Split
from faqd_train.files import fingerprint, write_atomically

_SETTINGS = ("dir", "cache", "size", "held_out")


def add_parser(commands: Any) -> None:
    """Add ``data`` and its three actions to the commands of a parser."""
    text = "prepare, inspect or draw a data set"
    parser = commands.add_parser("data", help=text, description=text)
    actions = parser.add_subparsers(dest="action", required=True)
    for name, text in (
        ("prepare", "decode a data set into the cache"),
        ("inspect", "print sizes, classes, statistics and hashes"),
        ("sheet", "draw images of each class into a PNG"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("name", help="digits, cifar10, …, or folder, as data.name")
        action.add_argument("--dir", help="where its files lie (data.dir)")
        action.add_argument("--cache", help="where it is kept decoded (data.cache)")
        action.add_argument("--size", type=int, help="side of a folder's images (data.size)")
        action.add_argument(
            "--held-out", type=int, help="images of the validation split (data.held_out)"
        )
        if name == "sheet":
            action.add_argument("--split", choices=SPLITS, default="train")
            action.add_argument("--out", type=Path, required=True, help="the PNG to write")
    parser.set_defaults(call=run)


def run(options: argparse.Namespace) -> None:
    """Do what the options of ``faqd-train data`` say."""
    given = {key: getattr(options, key) for key in _SETTINGS}
    settings = {key: value for key, value in given.items() if value is not None}
    config = check_config({"data": {"name": options.name, **settings}}).data
    if options.action == "prepare":
        _prepare(config)
    elif options.action == "inspect":
        print("\n".join(summary(config)))
    else:
        _draw(config, options.split, options.out)


def summary(config: DataConfig) -> Iterator[str]:
    """Give the lines that describe a data set, of all its splits."""
    statistics, names = load_preparation(config).statistics, load_class_names(config)
    if config.name != "digits":
        record = load_record(config)
        yield f"read from   {record.origin}"
        yield f"            sha256 {record.origin_sha256}"
        yield f"cache       {cache_folder(config)}"
    counts = {}
    for split in SPLITS:
        images = load_images(config, split)
        yield f"{split:<11} {' × '.join(map(str, images.shape))}, {fingerprint(images)}"
        if has_labels(config, split):
            labels = load_labels(config, split)
            yield f"            labels {fingerprint(labels)}"
            counts[split] = np.bincount(labels.numpy(), minlength=len(names))
    yield f"mean        {_numbers(statistics.mean)} (train, grey levels 0 … 255)"
    yield f"deviation   {_numbers(statistics.std)}"
    if not counts:
        yield "classes     none: the images have no labels"
        return
    yield f"classes     {len(names)}, with their images in {', '.join(counts)}"
    width = max(map(len, names))
    for label, name in enumerate(names):
        numbers = "".join(f"{count[label]:>8,}" for count in counts.values())
        yield f"{label:>11} {name:<{width}}{numbers}"


def _prepare(config: DataConfig) -> None:
    if config.name == "digits":
        print("digits is embedded in scikit-learn; there is nothing to prepare.")
        return
    start = time.perf_counter()
    with _bar() as progress:
        record = load_record(config, progress)
    for split in SPLITS:  # checks the files of a cache that was there already
        load_images(config, split)
    seconds = time.perf_counter() - start
    total = sum(shape[0] for name, shape in record.shapes.items() if "images" in name)
    print(f"{config.name}: {total:,} images in {cache_folder(config)} ({seconds:.1f} s)")


def _draw(config: DataConfig, split: Split, out: Path) -> None:
    images = load_images(config, split).numpy()
    labels = load_labels(config, split).numpy() if has_labels(config, split) else None
    size = " x ".join(map(str, images.shape[2:]))
    title = f"{config.name}, {split}: {len(images):,} images of {size} pixels"
    content = io.BytesIO()
    contact_sheet(images, labels, load_class_names(config), title).save(content, "PNG")
    write_atomically(out, content.getvalue())
    print(f"the sheet is in {out}")


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.3f}" for value in values)


@contextmanager
def _bar() -> Iterator[Progress]:
    """Show a bar of images while decoding, if the error stream is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("decoding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with ProgressBar(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
