"""The terms of the training objective (§7)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from faqd_train.config.section import Count, Integer, Section, Weight

Law = Literal["gaussian", "rademacher", "sphere", "orthogonal"]
Gradient = Literal["paper", "one-sided"]


class MseConfig(Section):
    """The teacher's logits, by the mean squared error."""

    loss: Literal["mse"] = "mse"
    """Squared error of the logits (mse), or divergence of outputs (kl)."""
    weight: Weight
    """Weight of the term."""


class KlConfig(Section):
    """The teacher's softened outputs, by T² times their KL divergence."""

    loss: Literal["kl"] = "kl"
    weight: Weight
    """Weight of the term."""
    temperature: float = Field(default=4.0, gt=0)
    """T, which softens both outputs."""


class ProbesConfig(Section):
    """Random probes, drawn afresh for each sample and step, that estimate FA."""

    k: Count
    """Number of probes per sample."""
    law: Law = "gaussian"
    """Law of the probes' entries."""
    gradient: Gradient = "paper"
    """Of order 2: the gradient of the estimate (paper), or another with the same mean and less
    noise (one-sided)."""


class AffinityConfig(Section):
    """Feature affinity between maps of student and teacher."""

    weight: Weight
    """Weight of the term."""
    order: Annotated[Literal[1, 2], Integer] = 2
    """2: mean squares of the affinities' gaps; 1: mean absolute values."""
    taps: tuple[str, ...] = Field(default=("stage1", "stage2", "stage3"), min_length=1)
    """Modules of the student whose maps are compared, as in named_modules(). Default: its stages,
    with model.kind=resnet its layers."""
    teacher_taps: tuple[str, ...] | None = None
    """Modules of the teacher, one for each tap; none: of the same names."""
    probes: ProbesConfig | None = None
    """FFA: estimate FA by random probes; none: exact FA."""

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if len(set(self.taps)) < len(self.taps):
            raise ValueError(
                f"objective.fa.taps is {list(self.taps)}; each of the student's maps is compared "
                f"once: name every module once"
            )
        if self.teacher_taps is not None and len(self.teacher_taps) != len(self.taps):
            raise ValueError(
                f"objective.fa.teacher_taps names {len(self.teacher_taps)} modules and "
                f"objective.fa.taps {len(self.taps)}; FA compares them in pairs: name equally many"
            )
        if self.order == 1 and self.probes is not None and self.probes.gradient == "one-sided":
            raise ValueError(
                "objective.fa.probes.gradient is 'one-sided' with objective.fa.order 1, for which "
                "it would be biased: set it to paper, or the order to 2"
            )
        return self

    @property
    def tap_pairs(self) -> tuple[tuple[str, str], ...]:
        """Modules of student and teacher whose maps are compared."""
        return tuple(zip(self.taps, self.teacher_taps or self.taps, strict=True))


class LabelConfig(Section):
    """Cross entropy with the labels."""

    weight: Weight
    """Weight of the term."""


class ObjectiveConfig(Section):
    """The terms that training minimises the weighted sum of (§7)."""

    kd: MseConfig | KlConfig | None = Field(default=MseConfig(weight=1.0), discriminator="loss")
    """The teacher's logits; none: no such term."""
    fa: AffinityConfig | None = AffinityConfig(weight=0.1)
    """Affinity of feature maps; none: no such term."""
    label: LabelConfig | None = LabelConfig(weight=0.3)
    """The labels; none: no training label is read."""

    @model_validator(mode="after")
    def _has_a_term(self) -> Self:
        if not self.weights:
            raise ValueError(
                "objective.kd, objective.fa and objective.label are all none; at least one term "
                "is needed: choose what to train by"
            )
        return self

    @property
    def weights(self) -> dict[str, float]:
        """Weights of the terms that are there, by name."""
        terms = {"kd": self.kd, "fa": self.fa, "label": self.label}
        return {name: term.weight for name, term in terms.items() if term is not None}

    @property
    def tap_pairs(self) -> tuple[tuple[str, str], ...]:
        """Modules of student and teacher whose maps FA compares."""
        return () if self.fa is None else self.fa.tap_pairs

    @property
    def taps(self) -> tuple[str, ...]:
        """Modules of the student whose maps are needed."""
        return tuple(tap for tap, _ in self.tap_pairs)

    @property
    def teacher_tapped(self) -> tuple[str, ...]:
        """Modules of the teacher whose maps are needed."""
        return tuple(tap for _, tap in self.tap_pairs)

    @property
    def needs_teacher(self) -> bool:
        """Whether a term compares with a teacher."""
        return self.kd is not None or self.fa is not None
