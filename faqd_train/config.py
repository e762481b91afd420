"""What a run is told: one typed, frozen configuration, checked before anything starts."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Bits = Literal[1, 2, 3, 4, 8, 32]
Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]
Law = Literal["gaussian", "rademacher", "sphere", "orthogonal"]
FLOAT_BITS = 32


class _Section(BaseModel):
    """Immutable; no setting is converted from another type and none is ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataConfig(_Section):
    """Which images, and how they are augmented."""

    name: Literal["digits"] = "digits"
    labels: bool = True  # False: the training labels must not be opened, or do not exist
    shift: int = Field(default=1, ge=0)  # random translation, pixels
    limit: Count | None = None  # only the first images of the training split


class ModelConfig(_Section):
    """A pre-activation ResNet (He et al. 2016b); the default is CIFAR's ResNet-20."""

    depth: Count = 20
    widths: tuple[Count, ...] = Field(default=(16, 32, 64), min_length=1)
    strides: tuple[Count, ...] = (1, 2, 2)
    bottleneck: bool = False

    @model_validator(mode="after")
    def _stages_agree(self) -> Self:
        if len(self.widths) != len(self.strides):
            raise ValueError(
                f"model.widths has {len(self.widths)} stages and model.strides "
                f"{len(self.strides)}; one stride a stage is accepted: give both the same length"
            )
        period = len(self.widths) * (3 if self.bottleneck else 2)
        if self.depth < period + 2 or (self.depth - 2) % period:
            nearest = period * max(1, round((self.depth - 2) / period)) + 2
            raise ValueError(
                f"model.depth is {self.depth}; {period}n + 2 is accepted for {len(self.widths)} "
                f"stages of {'bottleneck' if self.bottleneck else 'basic'} blocks: "
                f"take {nearest}, the nearest"
            )
        return self


class QuantizationConfig(_Section):
    """Bits of weights and activations; 32 keeps them float."""

    weight_bits: Bits = 4
    activation_bits: Bits = 4
    keep_float: tuple[str, ...] = ("classifier",)  # module names, as in named_modules()
    calibration_images: Count = 256  # set the first activation steps


def _is_fast(given: dict[str, Any]) -> bool:
    return given.get("fa_method") == "ffa"


class ObjectiveConfig(_Section):
    """Weights of the terms of §7; a term of weight 0 is not computed."""

    kd: Weight = 1.0
    fa: Weight = 0.1
    label: Weight = 0.3  # 0: label-free, the training labels are never opened
    kd_loss: Literal["mse", "kl"] = "mse"
    temperature: Annotated[float, Field(gt=0)] | None = Field(
        default_factory=lambda given: 4.0 if given.get("kd_loss") == "kl" else None
    )
    fa_method: Literal["exact", "ffa"] = "exact"
    order: Literal[1, 2] = 2
    k: Count | None = Field(default_factory=lambda given: 15 if _is_fast(given) else None)
    law: Law | None = Field(default_factory=lambda given: "gaussian" if _is_fast(given) else None)
    taps: tuple[str, ...] = ("stage1", "stage2", "stage3")

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
        if self.fa > 0 and not self.taps:
            raise ValueError(
                f"objective.fa is {self.fa} with no taps; FA compares the maps of named modules: "
                f"name them in objective.taps or set objective.fa=0"
            )
        return self

    @property
    def needs_teacher(self) -> bool:
        """Whether a term compares with a teacher."""
        return self.kd > 0 or self.fa > 0


class OptimizerConfig(_Section):
    """SGD with Nesterov momentum, cosine annealing to 0 (§7)."""

    epochs: Count = 200
    batch_size: Count = 100
    lr: Annotated[float, Field(gt=0)] = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = True
    weight_decay: Weight = 1e-4
    # Factor on lr for the activation steps: their coarse derivative sums over a whole layer.
    step_factor: Weight = 0.01

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError(
                "optimizer.nesterov is true with optimizer.momentum 0; Nesterov's step needs "
                "momentum: set optimizer.nesterov=false or a positive momentum"
            )
        return self


class RunConfig(_Section):
    """The seed of every random stream, and what is captured."""

    seed: int = Field(default=0, ge=0)
    capture: int = Field(default=0, ge=0)  # validation images whose maps are saved before and after


class Config(_Section):
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
        return self
