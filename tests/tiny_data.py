"""Small data sets in the official layouts, of random pixels; their truth is returned."""

import gzip
import pickle

import numpy as np
import torch
from PIL import Image

from faqd_train.config.schema import DataConfig
from faqd_train.data import load_images, load_labels
from faqd_train.data.splits import SPLITS

PER_BATCH = 12


def random_images(rng, *shape):
    return rng.integers(0, 256, shape, np.uint8)


def write_cifar10(root, rng):
    """Write the six files; return images (N, 3, 32, 32) and labels of train and of test."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    images = random_images(rng, 6 * PER_BATCH, 3, 32, 32)
    labels = rng.integers(0, 10, 6 * PER_BATCH)
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        part = slice(number * PER_BATCH, (number + 1) * PER_BATCH)
        batch = {b"data": images[part].reshape(PER_BATCH, -1), b"labels": labels[part].tolist()}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    names = [f"class {number}".encode() for number in range(10)]
    meta = {b"label_names": names, b"num_cases_per_batch": PER_BATCH}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    cut = 5 * PER_BATCH
    return (images[:cut], labels[:cut]), (images[cut:], labels[cut:])


def write_cifar100(root, rng):
    """Write the three files; return images and fine labels of train."""
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for name in ("test", "train"):
        images, labels = random_images(rng, 40, 3, 32, 32), rng.integers(0, 100, 40)
        batch = {
            b"data": images.reshape(40, -1),
            b"fine_labels": labels.tolist(),
            b"coarse_labels": [0] * 40,
        }
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    meta = {b"fine_label_names": [f"class {number}".encode() for number in range(100)]}
    (folder / "meta").write_bytes(pickle.dumps(meta, protocol=2))
    return images, labels


def write_image(path, image):
    """Write (3, H, W) losslessly."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.transpose(1, 2, 0)).save(path)


def write_fashion_mnist(root, rng, count, *, packed=False):
    """Write the four files; return images (N, 28, 28) and labels by "train" and "t10k"."""
    root.mkdir(parents=True, exist_ok=True)
    written = {}
    for part in ("train", "t10k"):
        images, labels = random_images(rng, count, 28, 28), rng.integers(0, 10, count)
        written[part] = images[:, None], labels
        arrays = {"images-idx3": images, "labels-idx1": labels.astype(np.uint8)}
        for kind, array in arrays.items():
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            content = header + array.tobytes()
            path = root / f"{part}-{kind}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(content) if packed else content)
    return written


def write_tiny_imagenet(root, rng, tested):
    """Write an image of each class; images of the places in ``tested`` are for validation.

    Return images (200 + len(tested), 3, 64, 64), the first of which are those of training.
    """
    codes = [f"n{900 - i:03}" for i in range(200)]
    images = random_images(rng, 200 + len(tested), 3, 64, 64)
    for image, code in zip(images, codes, strict=False):
        write_image(root / "train" / code / "images" / f"{code}_0.png", image)
    for number, image in enumerate(images[200:]):
        write_image(root / "val" / "images" / f"val_{number}.png", image)
    (root / "wnids.txt").write_text("\n".join(codes) + "\n")
    (root / "words.txt").write_text("n900\tcat, puss\nn899\tdog\n")
    lines = [f"val_{i}.png\t{codes[place]}\t0\t0\t9\t9\n" for i, place in enumerate(tested)]
    (root / "val" / "val_annotations.txt").write_text("".join(reversed(lines)))
    return images


def small_cifar10(root):
    """Write the six files below a folder; return the configuration that reads them."""
    write_cifar10(root / "source", np.random.default_rng(0))
    return DataConfig(name="cifar10", dir=root / "source", cache=root / "cache", held_out=10)


def everything(config):
    """Copy all images and labels, for a mapped image changes with its file."""
    return {
        (split, load.__name__): load(config, split).clone()
        for split in SPLITS
        for load in (load_images, load_labels)
    }


def same(first, second):
    return all(torch.equal(first[key], second[key]) for key in first)


def left_behind(cache):
    """Return what a cache folder holds, apart from the locks, which are empty and stay."""
    return [path for path in cache.rglob("*") if path.suffix != ".lock"]
