"""Every layout: what is loaded are the pixels and labels that were written, split once."""

import http.server
import pickle
import shutil
import tarfile
import threading
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_data import (
    PER_BATCH,
    left_behind,
    random_images,
    write_cifar10,
    write_cifar100,
    write_fashion_mnist,
    write_image,
    write_tiny_imagenet,
)

from faqd_train.config.schema import DataConfig
from faqd_train.data import describe, has_labels, load_images, load_labels, load_record
from faqd_train.data.downloads import download
from faqd_train.data.readers.cifar import CIFAR10
from faqd_train.data.readers.idx import CLASS_NAMES
from faqd_train.data.readers.image_files import decode_image
from faqd_train.files import file_sha256


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def config(name, tmp_path, **settings):
    given = {"dir": tmp_path / "source", "cache": tmp_path / "cache", "held_out": 10}
    return DataConfig(name=name, **{**given, **settings})


def as_pairs(data, *splits):
    """Return the images and labels of some splits as a sorted list, whatever their order."""
    return sorted(
        (image.numpy().tobytes(), int(label))
        for split in splits
        for image, label in zip(load_images(data, split), load_labels(data, split), strict=True)
    )


def pairs_of(images, labels):
    return sorted(
        (image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)
    )


def test_the_digits_are_split_into_disjoint_parts():
    parts = [load_images("digits", name) for name in ("train", "validation", "test")]
    assert [len(images) for images in parts] == [1197, 300, 300]
    assert len(torch.cat(parts).flatten(1).unique(dim=0)) == 1797  # all images differ


def test_cifar10_folder_archive_and_inner_folder_give_the_written_pixels(tmp_path, rng):
    train, test = write_cifar10(tmp_path / "source", rng)
    (tmp_path / "archived").mkdir()
    with tarfile.open(tmp_path / "archived" / CIFAR10.archive, "w:gz") as archive:
        archive.add(tmp_path / "source" / CIFAR10.folder, CIFAR10.folder)
    places = [tmp_path / "source", tmp_path / "source" / CIFAR10.folder, tmp_path / "archived"]
    for number, place in enumerate(places):
        data = config("cifar10", tmp_path, dir=place, cache=tmp_path / str(number))
        assert as_pairs(data, "train", "validation") == pairs_of(*train)
        assert as_pairs(data, "test") == pairs_of(*test)
        assert len(load_images(data, "validation")) == 10
        assert load_record(data).class_names[3] == "class 3"


def test_cifar100_pickles_give_fine_labels(tmp_path, rng):
    images, labels = write_cifar100(tmp_path / "source", rng)
    data = config("cifar100", tmp_path)
    assert as_pairs(data, "train", "validation") == pairs_of(images, labels)


def test_cifar100_as_png_numbers_classes_alphabetically(tmp_path, rng):
    images, labels = random_images(rng, 200, 3, 32, 32), np.arange(200) % 100
    for number, image in enumerate(images):
        part = "train" if number < 100 else "test"
        write_image(tmp_path / "source" / part / f"c{labels[number]:02}" / f"{number}.png", image)
    data = config("cifar100", tmp_path)
    assert as_pairs(data, "train", "validation") == pairs_of(images[:100], labels[:100])
    assert as_pairs(data, "test") == pairs_of(images[100:], labels[100:])


def test_tiny_imagenet_counts_labels_as_wnids_does_and_takes_val_as_test(tmp_path, rng):
    images = write_tiny_imagenet(tmp_path / "source" / "tiny-imagenet-200", rng, tested=[0, 5])
    data = config("tiny-imagenet", tmp_path)
    assert as_pairs(data, "train", "validation") == pairs_of(images[:200], range(200))
    assert as_pairs(data, "test") == pairs_of(images[200:], [0, 5])
    assert load_record(data).class_names[:3] == ("cat", "dog", "n898")


@pytest.mark.parametrize("packed", [False, True])
def test_fashion_mnist_reads_plain_and_compressed_files(packed, tmp_path, rng):
    written = write_fashion_mnist(tmp_path / "source", rng, 30, packed=packed)
    data = config("fashion-mnist", tmp_path)
    assert as_pairs(data, "train", "validation") == pairs_of(*written["train"])
    assert as_pairs(data, "test") == pairs_of(*written["t10k"])
    assert load_record(data).class_names == CLASS_NAMES


def test_a_flat_folder_has_images_but_no_labels(tmp_path, rng):
    images = random_images(rng, 40, 3, 8, 8)
    for number, image in enumerate(images):
        write_image(tmp_path / "source" / f"{number}.png", image)
    (tmp_path / "source" / ".hidden").write_text("passed over")
    data = config("folder", tmp_path, size=8, classes=7, held_out=None)
    parts = [load_images(data, split) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [32, 4, 4]
    assert sorted(image.numpy().tobytes() for image in torch.cat(parts)) == sorted(
        image.tobytes() for image in images
    )
    assert not has_labels(data, "validation")
    assert describe(data).classes == 7
    with pytest.raises(ValueError, match=r"has no labels for what train_labels\.npy would hold"):
        load_labels(data, "train")
    with pytest.raises(ValueError, match=r"data.classes is None, and .* has 0 classes; .*: set"):
        describe(data.model_copy(update={"classes": None}))


def test_a_labelled_test_folder_may_stand_beside_unlabelled_training_images(tmp_path, rng):
    for number, image in enumerate(random_images(rng, 24, 3, 8, 8)):
        place = f"train/{number}.png" if number < 20 else f"test/c{number % 2}/{number}.png"
        write_image(tmp_path / "source" / place, image)
    data = config("folder", tmp_path, size=8)
    assert [has_labels(data, split) for split in ("train", "validation", "test")] == [0, 0, 1]
    assert load_labels(data, "test").tolist() == [0, 0, 1, 1]


def test_val_beside_train_is_the_test_split(tmp_path, rng):
    images = random_images(rng, 24, 3, 8, 8)
    for number, image in enumerate(images):
        part = "train" if number < 20 else "val"
        write_image(tmp_path / "source" / part / f"c{number % 2}" / f"{number}.png", image)
    data = config("folder", tmp_path, size=8)
    assert as_pairs(data, "train", "validation") == pairs_of(images[:20], np.arange(20) % 2)
    assert as_pairs(data, "test") == pairs_of(images[20:], np.arange(20, 24) % 2)


def test_val_beside_train_and_test_is_refused(tmp_path, rng):
    for part in ("train", "val", "test"):
        for number, image in enumerate(random_images(rng, 20, 3, 8, 8)):
            write_image(tmp_path / "source" / part / f"{number}.png", image)
    message = r"source holds val beside train and test; .* held out of train .*: move val or test"
    with pytest.raises(ValueError, match=message):
        load_images(config("folder", tmp_path, size=8), "train")
    assert not left_behind(tmp_path / "cache")


def test_a_folder_s_images_are_cut_to_squares_upright_and_in_rgb(tmp_path):
    picture = Image.new("RGB", (20, 10), "red")
    picture.paste("blue", (0, 0, 5, 10))  # left quarter: outside the middle square
    picture.save(tmp_path / "wide.png")
    red = np.array([255, 0, 0], np.uint8)[:, None, None]
    np.testing.assert_array_equal(
        decode_image(tmp_path / "wide.png", 10, exact=False), np.broadcast_to(red, (3, 10, 10))
    )
    turned = Image.new("RGB", (8, 8), "black")
    turned.paste("white", (0, 0, 8, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored a quarter turn to the left
    turned.save(tmp_path / "turned.png", exif=exif)
    upright = decode_image(tmp_path / "turned.png", 8, exact=False)
    assert (upright[:, :, 4:] == 255).all()
    assert (upright[:, :, :4] == 0).all()
    Image.new("L", (8, 8), 9).save(tmp_path / "grey.png")
    assert (decode_image(tmp_path / "grey.png", 8, exact=True) == 9).all()


def write_batch_of_fewer(root):
    path = root / CIFAR10.folder / "data_batch_2"
    shutil.copy(root / CIFAR10.folder / "data_batch_1", path)
    batch = pickle.loads(path.read_bytes())
    short = {b"data": batch[b"data"][:-1], b"labels": batch[b"labels"][:-1]}
    path.write_bytes(pickle.dumps(short, 2))


def test_a_batch_of_fewer_images_than_the_meta_file_tells_is_refused(tmp_path, rng):
    write_cifar10(tmp_path / "source", rng)
    write_batch_of_fewer(tmp_path / "source")
    message = rf"has a file of {PER_BATCH - 1} images, and batches\.meta says {PER_BATCH} per file"
    with pytest.raises(ValueError, match=message):
        load_images(config("cifar10", tmp_path), "train")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: write_image(root / "a/wide.png", np.zeros((3, 8, 9), np.uint8)), None),
        (lambda root: write_image(root / "x.png", np.zeros((3, 8, 8), np.uint8)),
         r"x\.png lies beside the class folders, so its class is unknown"),
        (lambda root: (root / "c").mkdir(), r"/c is empty; a class needs images"),
        (lambda root: (root / "a/b").mkdir(), r"a/b is a folder within a class"),
        (lambda root: (root / "a/notes.txt").write_text("x"), r"notes\.txt is not an intact image"),
        (lambda root: Image.new("I;16", (8, 8)).save(root / "a/deep.png"),
         r"deep\.png has pixels of mode I;16; eight bits per channel are accepted"),
        (lambda root: shutil.copytree(root / "a", root / "train/a") and
         shutil.copytree(root / "a", root / "test/new"), r"test/new is a class that train has not"),
    ],
)  # fmt: skip
def test_misplaced_and_foreign_files_in_a_folder_are_named(change, message, tmp_path, rng):
    for number, image in enumerate(random_images(rng, 40, 3, 8, 8)):
        write_image(tmp_path / "source" / "ab"[number % 2] / f"{number}.png", image)
    change(tmp_path / "source")
    data = config("folder", tmp_path, size=8)
    if message is None:  # any size is accepted in a folder of one's own
        assert len(load_images(data, "train")) == 21
        return
    with pytest.raises(ValueError, match=message):
        load_images(data, "train")
    assert not left_behind(tmp_path / "cache")


@pytest.mark.parametrize("held_out", [60, 99])
def test_holding_out_everything_is_refused(held_out, tmp_path, rng):
    write_cifar10(tmp_path / "source", rng)
    message = rf"data.held_out is {held_out} of 60 images; fewer than all of them is accepted"
    with pytest.raises(ValueError, match=message):
        load_images(config("cifar10", tmp_path, held_out=held_out), "train")


@pytest.fixture
def server(tmp_path):
    """Serve a folder on this machine; give the folder and its address."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_arguments):
            pass

    service = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=str(folder))
    )
    thread = threading.Thread(target=service.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{service.server_port}"
    service.shutdown()
    thread.join()
    service.server_close()


def test_downloads_are_checked_and_kept(server, tmp_path):
    folder, address = server
    (folder / "data.bin").write_bytes(b"genuine" * 10_000)
    sha256 = file_sha256(folder / "data.bin")
    path = download(f"{address}/data.bin", sha256, tmp_path / "kept")
    assert path.read_bytes() == b"genuine" * 10_000
    (folder / "data.bin").unlink()
    assert download(f"{address}/data.bin", sha256, tmp_path / "kept") == path  # from the disk


def test_altered_and_missing_downloads_are_refused_and_not_kept(server, tmp_path):
    folder, address = server
    (folder / "data.bin").write_bytes(b"altered")
    with pytest.raises(ValueError, match="gave another file than the official one"):
        download(f"{address}/data.bin", "0" * 64, tmp_path / "kept")
    with pytest.raises(ValueError, match=r"none\.bin cannot be downloaded \(HTTPError\); where"):
        download(f"{address}/none.bin", "0" * 64, tmp_path / "kept")
    assert not list((tmp_path / "kept").glob("*"))
