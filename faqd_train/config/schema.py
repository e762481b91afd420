"""The settings of a run: one typed, frozen configuration, checked before anything starts."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from faqd_train.config.data import DataConfig, DataName
from faqd_train.config.networks import ModelConfig, PreActResNetConfig
from faqd_train.config.objective import ObjectiveConfig
from faqd_train.config.quantization import QuantizationConfig
from faqd_train.config.section import Count, Factor, Section

__all__ = [
    "Config",
    "DataConfig",
    "DataName",
    "FoldedTeacherConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "PreActResNetConfig",
    "QuantizationConfig",
    "RunConfig",
]

Precision = Literal["float32", "bfloat16"]


class OptimizerConfig(Section):
    """SGD with Nesterov momentum, cosine annealing to 0 (§7)."""

    epochs: Count = 200
    """Passes over the training images."""
    warmup_epochs: int = Field(default=0, ge=0)
    """Epochs of linearly rising learning rate, before the cosine."""
    batch_size: Count = 100
    """Images per step."""
    lr: float = Field(default=0.01, gt=0)
    """Largest learning rate."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of SGD."""
    nesterov: bool = True
    """Nesterov's form of momentum."""
    weight_decay: Factor = 1e-4
    """Weight decay, activation steps excepted."""
    step_factor: Factor = 0.01
    """Factor on lr for the activation steps, whose coarse derivative sums over a whole
    layer."""

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"optimizer.warmup_epochs is {self.warmup_epochs} with optimizer.epochs "
                f"{self.epochs}; fewer than all are accepted: lower optimizer.warmup_epochs"
            )
        if self.nesterov and self.momentum == 0:
            raise ValueError(
                "optimizer.nesterov is true with optimizer.momentum 0; Nesterov's step needs "
                "momentum: set optimizer.nesterov=false or a positive momentum"
            )
        return self


class TeacherConfig(Section):
    """The teacher runs as it is."""

    folded: Literal[False] = False
    """true: a copy runs whose batch norms are folded into its convolutions, in channels-last
    layout: equal to rounding."""
    precision: Precision = "float32"
    """Of the teacher's passes, by autocast."""


class FoldedTeacherConfig(Section):
    """A folded copy of the teacher runs, and is measured against the teacher first."""

    folded: Literal[True] = True
    precision: Precision = "float32"
    """Of the teacher's passes."""
    tolerance: float | None = Field(default=None, gt=0)
    """Largest relative error of logits and maps in bfloat16; beyond it the teacher runs in
    float32. none: no limit."""


class RunConfig(Section):
    """The seeds of all random streams, how networks run, what is captured and saved."""

    seed: int = Field(default=0, ge=0)
    """Seed of all random streams."""
    data_seed: int | None = Field(default=None, ge=0)
    """Seed of the images' order and augmentation; none: the seed. Runs of one data_seed see the
    same batches, whatever their seeds."""
    precision: Precision = "float32"
    """Of the student's training; bfloat16: mixed, by autocast."""
    teacher: TeacherConfig | FoldedTeacherConfig = Field(
        default=TeacherConfig(), discriminator="folded"
    )
    """How the teacher runs."""
    channels_last: bool = False
    """Channels-last layout of maps and weights."""
    compile: bool = False
    """torch.compile for both networks' passes in training: equal to rounding, after a minute of
    compiling. On a CPU it needs a C++ compiler."""
    cuda_graph: bool = False
    """Teacher and student each as one CUDA graph, the students of one teacher side by side."""
    tensorboard: bool = False
    """Curves for TensorBoard, beside metrics.jsonl."""
    checkpoint_epochs: Count = 1
    """Epochs between checkpoints."""
    checkpoint_steps: int = Field(default=0, ge=0)
    """Steps between checkpoints within an epoch; 0: none."""
    capture: int = Field(default=0, ge=0)
    """Validation images whose maps are saved before and after training."""
    capture_epochs: tuple[Count, ...] = ()
    """Epochs after which these maps are saved, too."""


class Config(Section):
    """One run: the network that `model` describes is trained by `objective`.

    Defaults are those of the released code (§7), but for the projection of weights.
    `faqd_train.config.files.load_config` reads it from TOML.

    Examples
    --------
    >>> config = Config()
    >>> config.objective.weights, config.optimizer.lr
    ({'kd': 1.0, 'fa': 0.1, 'label': 0.3}, 0.01)
    """

    data: DataConfig = DataConfig()
    """Which images, and their augmentation."""
    model: ModelConfig = Field(default=PreActResNetConfig(), discriminator="kind")
    """The network that is trained."""
    quantization: QuantizationConfig = QuantizationConfig()
    """Bits of weights and activations."""
    objective: ObjectiveConfig = ObjectiveConfig()
    """What is minimised."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """How it is minimised."""
    run: RunConfig = RunConfig()
    """Seeds, precision, and what is saved."""

    def settings(self) -> dict[str, Any]:
        """Return what decides a run, ready for JSON: all settings but where and how it runs."""
        elsewhere = {"data": {"dir", "cache"}, "run": {"cuda_graph"}}
        return self.model_dump(mode="json", exclude=elsewhere)

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        if not self.data.labels and self.objective.label is not None:
            raise ValueError(
                f"objective.label has weight {self.objective.label.weight} with data.labels=false; "
                f"a label-free run has no label term: set objective.label=none or data.labels=true"
            )
        if self.run.capture and self.objective.fa is None:
            raise ValueError(
                f"run.capture is {self.run.capture} with objective.fa none; features are captured "
                f"where FA compares them: set run.capture=0 or take FA, as method=fa does"
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
