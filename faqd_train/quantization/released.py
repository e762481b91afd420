"""Weight projections as the released code of FAQD has them: the baseline "released", not exact."""

from __future__ import annotations

import torch
from torch import Tensor


def binary(weights: Tensor) -> Tensor:
    """Return mean|w|·sign(w), with sign(0) = 0.

    Examples
    --------
    >>> binary(torch.tensor([1.0, -0.5, 0.0]))
    tensor([ 0.5000, -0.5000,  0.0000])
    """
    return weights.abs().mean() * weights.sign()


def ternary(weights: Tensor) -> Tensor:
    """Return 0 below 0.7·mean|w|, else ± the mean of |w|·[kept] over all weights, zeros included.

    Examples
    --------
    >>> ternary(torch.tensor([1.0, -0.75, 0.25, 0.0]))
    tensor([ 0.4375, -0.4375,  0.0000,  0.0000])
    """
    magnitudes = weights.abs()
    kept = magnitudes >= 0.7 * magnitudes.mean()
    return (magnitudes * kept).mean() * kept * weights.sign()


def four_bit(weights: Tensor) -> Tensor:
    """Return fifteen levels by one Lloyd iteration from the step 2·max|w|/15.

    Examples
    --------
    Codes 7, −1 and 0:

    >>> four_bit(torch.tensor([7.5, -1.0, 0.5]))
    tensor([ 7.4900, -1.0700,  0.0000])
    """
    unit = (weights.abs().max() / 15).clamp(min=torch.finfo(weights.dtype).tiny)
    # Code j where (2j − 1)·unit < |w| <= (2j + 1)·unit, and 7 beyond.
    codes = torch.ceil((weights.abs() / unit - 1) / 2).clamp(0, 7) * weights.sign()
    return (weights * codes).sum() / codes.square().sum().clamp(min=1) * codes


RELEASED = {1: binary, 2: ternary, 4: four_bit}
