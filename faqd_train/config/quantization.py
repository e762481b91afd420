"""How weights and activations are quantized (§6)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from faqd_train.config.section import Count, Integer, Section

Bits = Annotated[Literal[1, 2, 3, 4, 8], Integer]
ReleasedBits = Annotated[Literal[1, 2, 4], Integer]
Projection = Literal["alternating", "exact", "released"]
ActivationRule = Literal["learned", "released"]
Policy = Literal["float", "quantized"]
FLOAT_BITS = 32
RELEASED_BITS = (1, 2, 4)  # those whose quantizers the released code has


class _Weights(Section):
    blend: float = Field(default=0.0, ge=0, le=1)
    """β of BCGD, which moves weights to their levels (0: BinaryConnect)."""
    first: Policy = "quantized"
    """The first layer, in order of definition."""
    last: Policy = "float"
    """The last layer."""
    keep_float: tuple[str, ...] = ()
    """Module names of more layers that stay float."""


class WeightsConfig(_Weights):
    """Weights on the nearest levels."""

    projection: Literal["alternating", "exact"] = "alternating"
    """How the levels are found: by two Lloyd iterations from the last step (alternating), the
    best ones (exact, slower), or by the released code's rules (released)."""
    bits: Bits
    """Bits per weight (released: 1, 2 or 4)."""
    per_channel: bool = False
    """A step for each output channel instead of one for each layer."""


class ReleasedWeightsConfig(_Weights):
    """Weights by the rules of the released code."""

    projection: Literal["released"] = "released"
    bits: ReleasedBits


class ActivationsConfig(Section):
    """Activations whose steps are learnt."""

    rule: Literal["learned"] = "learned"
    """How steps are learnt: as in §6, or by the released code's rule."""
    bits: Bits
    """Bits per activation (released: 1, 2 or 4)."""


class ReleasedActivationsConfig(Section):
    """Activations by the rules of the released code."""

    rule: Literal["released"] = "released"
    bits: ReleasedBits


class QuantizationConfig(Section):
    """Few bits for weights, activations or both; what is none stays float."""

    weights: WeightsConfig | ReleasedWeightsConfig | None = Field(
        default=WeightsConfig(bits=4), discriminator="projection"
    )
    """Levels of weights; none: float."""
    activations: ActivationsConfig | ReleasedActivationsConfig | None = Field(
        default=ActivationsConfig(bits=4), discriminator="rule"
    )
    """Levels of activations; none: float."""
    calibration_images: Count = 256
    """Images that set the first activation steps and batch-norm statistics."""

    @property
    def weight_bits(self) -> int:
        """Bits per weight; 32 for float."""
        return FLOAT_BITS if self.weights is None else self.weights.bits

    @property
    def activation_bits(self) -> int:
        """Bits per activation; 32 for float."""
        return FLOAT_BITS if self.activations is None else self.activations.bits

    @property
    def blend(self) -> float:
        """The β of `faqd_train.quantization.weights.blend_shadow_weights`."""
        return 0.0 if self.weights is None else self.weights.blend
