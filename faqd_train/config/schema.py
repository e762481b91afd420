"""What a run is told: one typed, frozen configuration, checked before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from faqd_train.config.networks import ModelConfig, QuantizationConfig
from faqd_train.config.section import Count, Section, Weight, Whole

__all__ = [
    "Config",
    "DataConfig",
    "DataName",
    "ModelConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "QuantizationConfig",
    "RunConfig",
]

Share = Annotated[float, Field(gt=0, le=1)]
DataName = Literal["digits", "cifar10", "cifar100", "tiny-imagenet", "fashion-mnist", "folder"]
Precision = Literal["float32", "bfloat16"]
Law = Literal["gaussian", "rademacher", "sphere", "orthogonal"]


def _usual_shift(given: dict[str, Any]) -> int:
    if given.get("crop_area") is not None:
        return 0
    return 1 if given.get("name") == "digits" else 4


class DataConfig(Section):
    """Which images, and how they are augmented."""

    name: DataName = "digits"
    dir: Path | None = None  # where its files lie; None: downloaded, where that is possible
    cache: Path | None = None  # where it is kept decoded; None: in the user's cache folder
    size: Count | None = None  # of name "folder" alone: the side at which images are kept, pixels
    classes: Count | None = None  # of name "folder" alone: logits, where images have no labels
    held_out: Count | None = None  # images of the validation split; None: as usual for the set
    labels: bool = True  # False: the training labels must not be opened, or do not exist
    limit: Count | None = None  # only the first images of the training split
    input_size: Count | None = None  # side of the network's input, pixels; None: as stored
    crop_area: Share | None = None  # least area of a random resized crop; None: no such crop
    # Random translation, pixels: the random crop with padding of CIFAR.
    shift: int = Field(default_factory=_usual_shift, ge=0)
    flip: bool = Field(default_factory=lambda given: given.get("name") != "digits")

    @model_validator(mode="after")
    def _size_belongs_to_folder(self) -> Self:
        for option in ("size", "classes"):
            if getattr(self, option) is not None and self.name != "folder":
                raise ValueError(
                    f"data.{option} is {getattr(self, option)} with data.name {self.name!r}, "
                    f"which has its own; it belongs to 'folder': drop data.{option}"
                )
        return self

    @model_validator(mode="after")
    def _digits_have_no_folder(self) -> Self:
        if self.name == "digits" and self.dir is not None:
            raise ValueError(
                f"data.dir is '{self.dir}' with data.name 'digits', which is embedded and "
                f"read from no folder: drop data.dir or name the data set that lies there"
            )
        return self

    @model_validator(mode="after")
    def _one_random_crop(self) -> Self:
        if self.crop_area is not None and self.shift > 0:
            raise ValueError(
                f"data.shift is {self.shift} with data.crop_area {self.crop_area}; one random "
                f"crop is accepted: set data.shift=0 or drop data.crop_area"
            )
        return self


def _is_fast(given: dict[str, Any]) -> bool:
    return given.get("fa_method") == "ffa"


class ObjectiveConfig(Section):
    """Weights of the terms of §7; a term of weight 0 is not computed."""

    kd: Weight = 1.0
    fa: Weight = 0.1
    label: Weight = 0.3  # 0: label-free, the training labels are never opened
    kd_loss: Literal["mse", "kl"] = "mse"
    temperature: Annotated[float, Field(gt=0)] | None = Field(
        default_factory=lambda given: 4.0 if given.get("kd_loss") == "kl" else None
    )
    fa_method: Literal["exact", "ffa"] = "exact"
    order: Annotated[Literal[1, 2], Whole] = 2
    k: Count | None = Field(default_factory=lambda given: 15 if _is_fast(given) else None)
    gradient: Literal["paper", "one-sided"] = "paper"  # of FFA: that of its value, or N1's
    law: Law | None = Field(default_factory=lambda given: "gaussian" if _is_fast(given) else None)
    taps: tuple[str, ...] = ("stage1", "stage2", "stage3")  # the student's
    teacher_taps: tuple[str, ...] | None = None  # one for each of taps; None: of the same names

    @model_validator(mode="after")
    def _terms_agree(self) -> Self:
        if self.kd == self.fa == self.label == 0:
            raise ValueError(
                "objective.kd, objective.fa and objective.label are all 0; at least one positive "
                "weight is needed: choose a term to train by"
            )
        for option, chosen, owner in (
            ("temperature", self.kd_loss, "kl"),
            ("k", self.fa_method, "ffa"),
            ("law", self.fa_method, "ffa"),
        ):
            value = getattr(self, option)
            if (value is not None) != (chosen == owner):
                raise ValueError(
                    f"objective.{option} is {value!r} with method {chosen!r}; it belongs to "
                    f"{owner!r} and to nothing else: drop objective.{option} or change the method"
                )
        if len(set(self.taps)) < len(self.taps):
            raise ValueError(
                f"objective.taps is {list(self.taps)}; each of the student's maps is compared "
                f"once: name every module once"
            )
        if self.fa > 0 and not self.taps:
            raise ValueError(
                f"objective.fa is {self.fa} with no taps; FA compares the maps of named modules: "
                f"name them in objective.taps or set objective.fa=0"
            )
        if self.teacher_taps is not None and len(self.teacher_taps) != len(self.taps):
            raise ValueError(
                f"objective.teacher_taps names {len(self.teacher_taps)} modules and objective.taps "
                f"{len(self.taps)}; FA compares them in pairs: name as many in both"
            )
        return self

    @model_validator(mode="after")
    def _absent_terms_have_no_settings(self) -> Self:
        for term, option, usual, droppers in (
            ("fa", "fa_method", "exact", "method=kd and method=supervised do"),
            ("fa", "order", 2, "method=kd and method=supervised do"),
            ("kd", "kd_loss", "mse", "method=supervised does"),
        ):
            value = getattr(self, option)
            if getattr(self, term) == 0 and value != usual:
                raise ValueError(
                    f"objective.{option} is {value!r} with objective.{term} 0, which leaves that "
                    f"term out; {usual!r}, the default, is accepted there: drop "
                    f"objective.{option}, as {droppers}, or give objective.{term} a positive weight"
                )
        return self

    @property
    def tap_pairs(self) -> tuple[tuple[str, str], ...]:
        """Modules of student and teacher whose maps FA compares."""
        return tuple(zip(self.taps, self.teacher_taps or self.taps, strict=True))

    @property
    def teacher_tapped(self) -> tuple[str, ...]:
        """Modules of the teacher whose maps are needed."""
        return tuple(other for _, other in self.tap_pairs) if self.fa > 0 else ()

    @property
    def needs_teacher(self) -> bool:
        """Whether a term compares with a teacher."""
        return self.kd > 0 or self.fa > 0


class OptimizerConfig(Section):
    """SGD with Nesterov momentum, cosine annealing to 0 (§7)."""

    epochs: Count = 200
    warmup_epochs: int = Field(default=0, ge=0)  # of linearly rising lr, before the cosine
    batch_size: Count = 100
    lr: Annotated[float, Field(gt=0)] = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = True
    weight_decay: Weight = 1e-4
    # Factor on lr for the activation steps: their coarse derivative sums over a whole layer.
    step_factor: Weight = 0.01

    @model_validator(mode="after")
    def _warmup_ends(self) -> Self:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"optimizer.warmup_epochs is {self.warmup_epochs} with optimizer.epochs "
                f"{self.epochs}; fewer than all are accepted: lower optimizer.warmup_epochs"
            )
        return self

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError(
                "optimizer.nesterov is true with optimizer.momentum 0; Nesterov's step needs "
                "momentum: set optimizer.nesterov=false or a positive momentum"
            )
        return self


class RunConfig(Section):
    """The seeds of all random streams, how networks run, what is captured and saved."""

    seed: int = Field(default=0, ge=0)
    # Of the images' order and augmentation alone; None: the seed. Runs of one data_seed see the
    # same batches whatever their seeds.
    data_seed: int | None = Field(default=None, ge=0)
    precision: Precision = "float32"  # "bfloat16": mixed, by autocast, in training only
    teacher_precision: Precision = "float32"
    # Largest relative error of its logits and maps in bfloat16; beyond it, float32 is kept.
    # None: whatever it is.
    teacher_tolerance: Annotated[float, Field(gt=0)] | None = None
    # A copy answers whose norms are folded into its convolutions, channels last: equal to rounding.
    teacher_folded: bool = False
    channels_last: bool = False
    # Both networks' passes in training by torch.compile: equal to rounding, after a minute of
    # compiling. On a CPU it needs a C++ compiler.
    compile: bool = False
    # Teacher and student each as one CUDA graph, the students of one teacher side by side.
    cuda_graph: bool = False
    tensorboard: bool = False  # curves for TensorBoard, beside metrics.jsonl
    checkpoint_epochs: Count = 1  # a checkpoint after each so many epochs
    checkpoint_steps: int = Field(default=0, ge=0)  # within epochs; 0: at their ends alone
    capture: int = Field(default=0, ge=0)  # validation images whose maps are saved before and after
    capture_epochs: tuple[Count, ...] = ()  # after these epochs, too

    @model_validator(mode="after")
    def _tolerance_belongs_to_bfloat16(self) -> Self:
        if self.teacher_tolerance is not None and not (
            self.teacher_folded and self.teacher_precision == "bfloat16"
        ):
            raise ValueError(
                f"run.teacher_tolerance is {self.teacher_tolerance} with run.teacher_precision "
                f"{self.teacher_precision!r} and run.teacher_folded "
                f"{str(self.teacher_folded).lower()}; it belongs to a folded teacher in bfloat16: "
                f"drop run.teacher_tolerance, or set those to 'bfloat16' and true"
            )
        return self


class Config(Section):
    """One run: the network that `model` names is trained by `objective`.

    Defaults are those of the released code (§7). `config_files.load_config` reads it from TOML.

    Examples
    --------
    >>> config = Config()
    >>> config.objective.kd, config.objective.fa, config.optimizer.lr
    (1.0, 0.1, 0.01)
    """

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    quantization: QuantizationConfig = QuantizationConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    run: RunConfig = RunConfig()

    def settings(self) -> dict[str, Any]:
        """Return what decides a run, ready for JSON: all settings but where its files lie."""
        return self.model_dump(mode="json", exclude={"data": {"dir", "cache"}})

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        if not self.data.labels and self.objective.label > 0:
            raise ValueError(
                f"objective.label is {self.objective.label} with data.labels=false; a label-free "
                f"run has label weight 0: set objective.label=0 or data.labels=true"
            )
        if self.run.capture and self.objective.fa == 0:
            raise ValueError(
                f"run.capture is {self.run.capture} with objective.fa 0; features are captured "
                f"where FA compares them: set run.capture=0 or a positive objective.fa"
            )
        if self.run.capture_epochs and not self.run.capture:
            raise ValueError(
                f"run.capture_epochs is {list(self.run.capture_epochs)} with run.capture 0; "
                f"a number of images to capture is needed: set run.capture, such as 8"
            )
        beyond = [e for e in self.run.capture_epochs if e > self.optimizer.epochs]
        if beyond:
            raise ValueError(
                f"run.capture_epochs holds {beyond[0]}; epochs from 1 to optimizer.epochs, "
                f"{self.optimizer.epochs}, are accepted"
            )
        return self
