"""Gradients of FA and FFA with respect to the student's features, in closed form (I8, I9)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from faqd_math._validation import Array, check_choice, check_probes
from faqd_math.features import unit_pixel_pair
from faqd_math.losses import Order, apply_gap

GradientReduction = Literal["mean", "sum"]


def fa_gradient(
    student: Any, teacher: Any, *, order: Order = 2, reduction: GradientReduction = "mean"
) -> Array:
    """Gradient of `faqd_math.fa_loss` with respect to the student's features (I8).

    Order 2: G = (4/N²)·XA, in O(NC²) work. Order 1: G = (2/N²)·X sign(A), a subgradient, which
    forms A. Then, at each live pixel, projected off x_i and divided by ‖F_i‖; 0 at dead pixels.

    Parameters
    ----------
    student, teacher : array (C, H, W) or (B, C, H, W)
        As in `faqd_math.fa_loss`, which says what is refused.
    order : {2, 1}
        The norm.
    reduction : {"mean", "sum"}
        Over the samples of a batch: "mean" divides each sample's gradient by B.

    Returns
    -------
    array of the student's shape, float64

    Examples
    --------
    Moving a pixel along itself changes no cosine, so the gradient is orthogonal to it:

    >>> rng = np.random.default_rng(0)
    >>> student, teacher = rng.standard_normal((2, 3, 4, 4))
    >>> gradient = fa_gradient(student, teacher)
    >>> bool(np.allclose((gradient * student).sum(axis=0), 0))
    True
    """
    check_choice(order, "order", (1, 2))
    check_choice(reduction, "reduction", ("mean", "sum"))
    x, y, norms = unit_pixel_pair(student, teacher)
    gradient = unit_fa_gradient(x, y, order)
    return _through_normalisation(gradient, x, norms, np.shape(student), reduction)


def ffa_gradient(
    student: Any,
    teacher: Any,
    probes: Any,
    *,
    order: Order = 2,
    reduction: GradientReduction = "mean",
) -> Array:
    """Gradient of `faqd_math.ffa_loss` with respect to the student's features (I9).

    G = (2/(kN²))·X(VZᵀ + ZVᵀ) with V = AZ at order 2, and V = sign(AZ)/2 at order 1; then
    through the normalisation as in `fa_gradient`. O(NkC): no N×N matrix.

    Parameters are those of `fa_gradient`, and the probes of the loss, (N, k) or (B, N, k).

    Examples
    --------
    With N orthogonal probes it is FA's own gradient (I7):

    >>> from faqd_math import sample_probes
    >>> rng = np.random.default_rng(0)
    >>> student, teacher = rng.standard_normal((2, 3, 4, 4))
    >>> z = sample_probes(16, 16, law="orthogonal", rng=rng)
    >>> bool(np.allclose(ffa_gradient(student, teacher, z), fa_gradient(student, teacher)))
    True
    """
    check_choice(order, "order", (1, 2))
    check_choice(reduction, "reduction", ("mean", "sum"))
    x, y, norms = unit_pixel_pair(student, teacher)
    z = check_probes(probes, n=x.shape[-1], batch=len(x))
    gradient = unit_ffa_gradient(x, y, z, order)
    return _through_normalisation(gradient, x, norms, np.shape(student), reduction)


def unit_fa_gradient(x: Array, y: Array, order: Order = 2) -> Array:
    """Gradient (B, C_s, N) of each sample's FA with respect to the student's unit pixels X."""
    n = x.shape[-1]
    if order == 2:
        return 4 / n**2 * ((x @ x.mT) @ x - (x @ y.mT) @ y)
    signs = (np.sign(xb.T @ xb - yb.T @ yb) for xb, yb in zip(x, y, strict=True))
    return 2 / n**2 * np.stack([xb @ s for xb, s in zip(x, signs, strict=True)])


def unit_ffa_gradient(x: Array, y: Array, z: Array, order: Order = 2) -> Array:
    """Gradient (B, C_s, N) of each sample's FFA with respect to the student's unit pixels X."""
    az = apply_gap(x, y, z)
    v = az if order == 2 else np.sign(az) / 2
    return 2 / (z.shape[-1] * x.shape[-1] ** 2) * ((x @ v) @ z.mT + (x @ z) @ v.mT)


def _through_normalisation(
    gradient: Array,
    x: Array,
    norms: Array,
    shape: tuple[int, ...],
    reduction: GradientReduction,
) -> Array:
    """Chain rule of F_i ↦ F_i/‖F_i‖: project off x_i, divide by ‖F_i‖, 0 where F_i = 0."""
    tangent = gradient - x * (x * gradient).sum(axis=1, keepdims=True)
    tangent = np.divide(tangent, norms, out=np.zeros_like(tangent), where=norms > 0)
    return (tangent / len(x) if reduction == "mean" else tangent).reshape(shape)
