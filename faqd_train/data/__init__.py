"""Images, decoded once into a checked cache, split once, augmented in batches on the device."""

from faqd_train.data.augmentation import random_flip, random_resized_crop, random_shift, resize
from faqd_train.data.loading import (
    Description,
    describe,
    has_labels,
    load_images,
    load_labels,
    load_preparation,
    load_record,
)
from faqd_train.data.preparation import Preparation, make_preparation
from faqd_train.data.splits import Split
from faqd_train.files import fingerprint

__all__ = [
    "Description",
    "Preparation",
    "Split",
    "describe",
    "fingerprint",
    "has_labels",
    "load_images",
    "load_labels",
    "load_preparation",
    "load_record",
    "make_preparation",
    "random_flip",
    "random_resized_crop",
    "random_shift",
    "resize",
]
