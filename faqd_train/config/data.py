"""Which images a run sees."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from faqd_train.config.section import Count, Section

DataName = Literal["digits", "cifar10", "cifar100", "tiny-imagenet", "fashion-mnist", "folder"]


def _usual_shift(given: dict[str, Any]) -> int:
    if given.get("crop_area") is not None:
        return 0
    return 1 if given.get("name") == "digits" else 4


class DataConfig(Section):
    """Which images, and how they are augmented."""

    name: DataName = "digits"
    """The data set."""
    dir: Path | None = None
    """Where its files lie; none: downloaded, where that is possible."""
    cache: Path | None = None
    """Where it is kept decoded; none: in the user's cache folder."""
    size: Count | None = None
    """Of name 'folder': side at which images are kept, in pixels."""
    classes: Count | None = None
    """Of name 'folder': number of logits, where images have no labels."""
    held_out: Count | None = None
    """Images of the validation split; none: as usual for the data set."""
    labels: bool = True
    """false: the training labels are not to be opened, or do not exist."""
    limit: Count | None = None
    """Only the first images of the training split; none: all."""
    input_size: Count | None = None
    """Side of the network's input, in pixels; none: as stored."""
    crop_area: Annotated[float, Field(gt=0, le=1)] | None = None
    """Least area of a random resized crop; none: no such crop."""
    mean: tuple[float, ...] | None = None
    """Mean of each channel that inputs are normalised by, of pixels from 0 to 1; none: that of the
    training images."""
    std: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    """Standard deviation of each channel, likewise."""
    shift: int = Field(default_factory=_usual_shift, ge=0)
    """Random translation, in pixels: the random crop with padding of CIFAR. Default: 1 for
    digits, else 4, or 0 with crop_area."""
    flip: bool = Field(default_factory=lambda given: given.get("name") != "digits")
    """Random horizontal flips. Default: true, but for digits."""

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        for option in ("size", "classes"):
            if getattr(self, option) is not None and self.name != "folder":
                raise ValueError(
                    f"data.{option} is {getattr(self, option)} with data.name {self.name!r}, "
                    f"which has its own; it belongs to 'folder': drop data.{option}"
                )
        if len(self.mean or ()) != len(self.std or ()):
            raise ValueError(
                f"data.mean is {self.mean} and data.std {self.std}; one number per channel in both "
                f"is accepted, or neither: give both, or drop both"
            )
        if self.name == "digits" and self.dir is not None:
            raise ValueError(
                f"data.dir is '{self.dir}' with data.name 'digits', which is embedded and "
                f"read from no folder: drop data.dir or name the data set that lies there"
            )
        if self.crop_area is not None and self.shift > 0:
            raise ValueError(
                f"data.shift is {self.shift} with data.crop_area {self.crop_area}; one random "
                f"crop is accepted: set data.shift=0 or drop data.crop_area"
            )
        return self
