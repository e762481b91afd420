"""The networks that a configuration can name: built-in ResNets, or any by its function."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from faqd_train.config.section import Count, Section


class _Network(Section):
    init: Path | None = None
    """Folder of a finished run whose weights are the start: fine-tuning."""


class PreActResNetConfig(_Network):
    """A pre-activation ResNet (He et al. 2016b), by default ResNet-20 of CIFAR."""

    kind: Literal["preact-resnet"] = "preact-resnet"
    """Which network."""
    depth: Count = 20
    """Number of weighted layers, shortcuts not counted."""
    widths: tuple[Count, ...] = Field(default=(16, 32, 64), min_length=1)
    """Channels of each stage (bottleneck: a quarter)."""
    strides: tuple[Count, ...] = (1, 2, 2)
    """Stride of each stage."""
    bottleneck: bool = False
    """Blocks of 1×1, 3×3 and 1×1 convolutions."""
    blocks: tuple[Count, ...] | None = None
    """Residual blocks of each stage; none: equally many, by the depth."""
    stem: Literal["auto", "small", "large"] = "auto"
    """First convolution: 3×3 (small), or 7×7 with stride 2 and max pooling (large); auto: large
    from images of 128 pixels per side."""

    @model_validator(mode="after")
    def _stages_agree(self) -> Self:
        if len(self.widths) != len(self.strides):
            raise ValueError(
                f"model.widths has {len(self.widths)} stages and model.strides "
                f"{len(self.strides)}; one stride per stage is accepted: give both the same length"
            )
        layers = 3 if self.bottleneck else 2  # of a block
        if self.blocks is None:
            _check_depth(self.depth, layers * len(self.widths))
        elif (depth := layers * sum(self.blocks) + 2) != self.depth or (
            len(self.blocks) != len(self.widths)
        ):
            raise ValueError(
                f"model.blocks has {len(self.blocks)} stages and makes a depth of {depth}, but "
                f"model.widths has {len(self.widths)} and model.depth is {self.depth}; numbers "
                f"that agree are accepted: change the ones or the others"
            )
        return self

    @property
    def stage_blocks(self) -> tuple[int, ...]:
        """Number of residual blocks of each stage."""
        if self.blocks is not None:
            return self.blocks
        each = (self.depth - 2) // (len(self.widths) * (3 if self.bottleneck else 2))
        return (each,) * len(self.widths)


class ResNetConfig(_Network):
    """A post-activation ResNet for CIFAR (He et al. 2016a), as most public weights have it."""

    kind: Literal["resnet"] = "resnet"
    """Which network."""
    depth: Count = 20
    """Number of weighted layers: 6n + 2."""
    shortcut: Literal["conv", "pad"] = "conv"
    """Where the shape changes: a 1×1 convolution with norm, or zero padding."""

    @model_validator(mode="after")
    def _depth_fits(self) -> Self:
        _check_depth(self.depth, 6)
        return self


class FactoryConfig(_Network):
    """Any network, by the function that makes it."""

    kind: Literal["factory"] = "factory"
    """Which network."""
    factory: str
    """'package.module:function', which returns an nn.Module. The module is imported, which runs
    it."""
    options: dict[str, Any] = Field(default={})
    """Keyword arguments of the function."""


ModelConfig = PreActResNetConfig | ResNetConfig | FactoryConfig


def _check_depth(depth: int, period: int) -> None:
    """Refuse a depth that is not n·period + 2 (ValueError)."""
    if depth < period + 2 or (depth - 2) % period:
        nearest = period * max(1, round((depth - 2) / period)) + 2
        raise ValueError(
            f"model.depth is {depth}; {period}n + 2 is accepted for these stages and blocks: "
            f"take {nearest}, the nearest"
        )
