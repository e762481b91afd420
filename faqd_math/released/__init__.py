"""What the released code computes, re-implemented in NumPy."""

from faqd_math.released.losses import (
    NORM_OFFSET,
    activation_step_gradient,
    binary,
    fa_loss,
    ffa_loss,
    four_bit,
    ternary,
)

__all__ = [
    "NORM_OFFSET",
    "activation_step_gradient",
    "binary",
    "fa_loss",
    "ffa_loss",
    "four_bit",
    "ternary",
]
