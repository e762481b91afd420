"""The sections of the configuration that describe a network: its layers and its quantizers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from faqd_train.config.section import Count, Section, Whole

Bits = Annotated[Literal[1, 2, 3, 4, 8, 32], Whole]
Projection = Literal["alternating", "exact", "released"]
ActivationRule = Literal["learned", "released"]
Policy = Literal["float", "quantized"]
FLOAT_BITS = 32
RELEASED_BITS = (1, 2, 4)  # those whose quantizers the released code has


class ModelConfig(Section):
    """A pre-activation ResNet (He et al. 2016b), by default CIFAR's ResNet-20; or any network."""

    depth: Count = 20
    widths: tuple[Count, ...] = Field(default=(16, 32, 64), min_length=1)
    strides: tuple[Count, ...] = (1, 2, 2)
    bottleneck: bool = False
    blocks: tuple[Count, ...] | None = None  # of each stage; None: as many in each
    # 3×3, or 7×7 with stride 2 and max pooling; "auto": the latter from 128 pixels a side on.
    stem: Literal["auto", "small", "large"] = "auto"
    factory: str | None = None  # "package.module:function" that returns another nn.Module
    options: dict[str, Any] = Field(default_factory=dict)  # what the factory is called with
    init: Path | None = None  # folder of a run whose weights are taken up: fine-tuning

    @model_validator(mode="after")
    def _stages_agree(self) -> Self:
        if len(self.widths) != len(self.strides):
            raise ValueError(
                f"model.widths has {len(self.widths)} stages and model.strides "
                f"{len(self.strides)}; one stride a stage is accepted: give both the same length"
            )
        layers = 3 if self.bottleneck else 2  # of a block
        if self.blocks is not None:
            depth = layers * sum(self.blocks) + 2
            if len(self.blocks) != len(self.widths) or self.depth != depth:
                raise ValueError(
                    f"model.blocks has {len(self.blocks)} stages and makes a depth of {depth}, but "
                    f"model.widths has {len(self.widths)} and model.depth is {self.depth}; numbers "
                    f"that agree are accepted: change the ones or the others"
                )
            return self
        period = len(self.widths) * layers
        if self.depth < period + 2 or (self.depth - 2) % period:
            nearest = period * max(1, round((self.depth - 2) / period)) + 2
            raise ValueError(
                f"model.depth is {self.depth}; {period}n + 2 is accepted for {len(self.widths)} "
                f"stages of {'bottleneck' if self.bottleneck else 'basic'} blocks: "
                f"take {nearest}, the nearest"
            )
        return self

    @model_validator(mode="after")
    def _one_kind_of_network(self) -> Self:
        own = ("depth", "widths", "strides", "bottleneck", "blocks", "stem")
        default = {name: type(self).model_fields[name].default for name in own}
        changed = [name for name in own if getattr(self, name) != default[name]]
        if self.factory is not None and changed:
            raise ValueError(
                f"model.{changed[0]} is given with model.factory {self.factory!r}, which does not "
                f"read it; only model.options reach a factory: drop model.{changed[0]}"
            )
        if self.factory is None and self.options:
            raise ValueError(
                f"model.options is {self.options} without model.factory; options are for a "
                f"factory: name it as package.module:function, or drop them"
            )
        return self

    @property
    def stage_blocks(self) -> tuple[int, ...]:
        """How many residual blocks each stage has."""
        if self.blocks is not None:
            return self.blocks
        each = (self.depth - 2) // (len(self.widths) * (3 if self.bottleneck else 2))
        return (each,) * len(self.widths)


class QuantizationConfig(Section):
    """Bits of weights and activations, 32 keeping them float, and the rules by which."""

    weight_bits: Bits = 4
    activation_bits: Bits = 4
    projection: Projection = "alternating"
    per_channel: bool = False  # a weight step for each output channel, not one a layer
    blend: Annotated[float, Field(ge=0, le=1)] = 0.0  # β of BCGD; 0: BinaryConnect
    activation_rule: ActivationRule = "learned"  # how activation steps learn
    first: Policy = "quantized"  # the first layer's weights, in order of definition
    last: Policy = "float"  # the last layer's
    keep_float: tuple[str, ...] = ()  # more such layers: module names, as in named_modules()
    calibration_images: Count = 256  # set the first activation steps

    @model_validator(mode="after")
    def _released_rules_exist(self) -> Self:
        for bits, rule in (("weight_bits", "projection"), ("activation_bits", "activation_rule")):
            value = getattr(self, bits)
            if getattr(self, rule) == "released" and value not in (*RELEASED_BITS, FLOAT_BITS):
                raise ValueError(
                    f"quantization.{bits} is {value} with quantization.{rule} 'released'; the "
                    f"released code has 1, 2 and 4 bits: choose of these or another "
                    f"quantization.{rule}"
                )
        if self.projection == "released" and self.per_channel:
            raise ValueError(
                "quantization.per_channel is true with quantization.projection 'released', which "
                "has one step a layer: set it to false or choose another projection"
            )
        return self

    @model_validator(mode="after")
    def _float_weights_have_no_rules(self) -> Self:
        for option in ("blend", "per_channel"):
            if self.weight_bits == FLOAT_BITS and getattr(self, option):
                raise ValueError(
                    f"quantization.{option} is {getattr(self, option)} with "
                    f"quantization.weight_bits {FLOAT_BITS}, which keeps weights float; it belongs "
                    f"to quantized weights: drop quantization.{option} or lower the bits"
                )
        return self
