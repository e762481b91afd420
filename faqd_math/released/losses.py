"""FAQD's losses and quantizers as its released code computes them: a baseline, not for training.

Own re-implementation, so that anyone can compare. Known defects, by their number in the audit:

- R1: `ffa_loss` of order 1 does not estimate FA of order 1, but √(2/π) times the (2,1)-norm of A
  over N² (P9), about 1/√N of it.
- R2, R3: the released code draws the same probes at every call, by reseeding the global
  generator; fixed probes can be fitted while FA stays. Here the caller passes the probes.
- R4: one dead pixel makes `ffa_loss` NaN.
- R5: `ffa_loss` of order 2 takes a root, so it is biased low (P7).
- R6: order 1 sums over the batch, so the loss grows with it.
- `ternary` averages over all weights, zeros included: its scale is below the least-squares one.

R7–R9 are defects of the training scripts: adapters that no optimizer holds and convolutions left
unquantized (`faqd_math.released.training`), and 8 activation bits that crash. Use
`faqd_math.fa_loss`, `faqd_math.ffa_loss` and `faqd_math.quantize` instead.

Maps, (C, H, W) or (B, C, H, W), probes, weights of any shape and activations are floating NumPy
arrays, and all is computed in float64. Bad input raises TypeError or ValueError, as it does there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from faqd_math._validation import Array, check_array, check_choice, check_pair, check_probes
from faqd_math.features import resize_bilinear
from faqd_math.losses import Order, apply_gap
from faqd_math.quantize import (
    activation_derivatives,
    check_weights,
    least_squares_step,
    nearest_codes,
)

# Added to each pixel's norm by fa_loss, but not by ffa_loss.
NORM_OFFSET = 1e-5


def fa_loss(student: Any, teacher: Any, order: Order = 1) -> float:
    """FA as released: pixels divided by (norm + 1e-5), no mean over the batch.

    Parameters
    ----------
    order : {1, 2}
        1: Σ|A_ij|/N² over entries and batch. 2: the Frobenius norm of A over the whole batch,
        not squared, over N.

    Examples
    --------
    A batch of two counts twice (R6):

    >>> student, teacher = np.ones((1, 1, 1, 2)), np.eye(2).reshape(1, 2, 1, 2)
    >>> round(fa_loss(student, teacher), 3)
    0.5
    >>> round(fa_loss(student.repeat(2, axis=0), teacher.repeat(2, axis=0)), 3)
    1.0
    """
    check_choice(order, "order", (1, 2))
    x, y = _pixels_over_norms(student, teacher, NORM_OFFSET)
    gap = x.mT @ x - y.mT @ y
    n = x.shape[-1]
    return float(np.abs(gap).sum() / n**2 if order == 1 else np.sqrt((gap**2).sum()) / n)


def ffa_loss(student: Any, teacher: Any, probes: Any, order: Order = 1) -> float:
    """FFA as released: bare norms, one probe matrix for the batch.

    Parameters
    ----------
    probes : array (N, k)
        Shared by the batch. The released code takes k = 15 gaussian ones, the same at each call.
    order : {1, 2}
        1: Σ_b Σ_i mean_j |(AZ)_ij|/N². 2: √(Σ_b Σ_i mean_j (AZ)²_ij)/N.

    Returns
    -------
    float
        NaN if a pixel of either map is dead (R4): here, and nowhere else, a defect is kept that
        turns good input into NaN.

    Examples
    --------
    >>> student, teacher = np.ones((1, 1, 2)), np.eye(2).reshape(2, 1, 2)
    >>> ffa_loss(student, teacher, np.array([[1.0], [3.0]]))
    1.0
    >>> ffa_loss(student, teacher * [0.0, 1.0], np.ones((2, 1)))
    nan
    """
    check_choice(order, "order", (1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = _pixels_over_norms(student, teacher, 0.0)
        n = x.shape[-1]
        z = check_probes(probes, n=n, batch=len(x))
        if z.ndim != 2:
            raise ValueError(
                f"probes has shape {z.shape}; the released FFA accepts ({n}, k), shared by the "
                f"batch: pass one sample's probes."
            )
        az = apply_gap(x, y, z)
    # The mean over the k probes, summed over pixels and batch.
    if order == 1:
        return float(np.abs(az).mean(axis=-1).sum() / n**2)
    return float(np.sqrt((az**2).mean(axis=-1).sum()) / n)


def binary(weights: Any) -> Array:
    """Binary weights ("1-bit") as released: mean|w|·sign(w), with sign(0) = 0.

    Examples
    --------
    >>> binary(np.array([1.0, -0.5, 0.0]))
    array([ 0.5, -0.5,  0. ])
    """
    array = check_weights(weights)
    return np.abs(array).mean() * np.sign(array)


def ternary(weights: Any) -> Array:
    """Ternary weights ("2-bit") as released: 0 below 0.7·mean|w|, else ± the mean of |w|·[kept].

    Notes
    -----
    That mean runs over all weights; least squares divides by the number of kept ones. The released
    code also caps the threshold at 100, left out here as no network's weights reach it.

    Examples
    --------
    >>> ternary(np.array([1.0, -0.75, 0.25, 0.0]))
    array([ 0.4375, -0.4375,  0.    ,  0.    ])
    """
    array = check_weights(weights)
    magnitudes = np.abs(array)
    kept = magnitudes >= 0.7 * magnitudes.mean()
    return (magnitudes * kept).mean() * kept * np.sign(array)


def four_bit(weights: Any) -> Array:
    """Fifteen levels ("4-bit") as released: one Lloyd iteration from the step 2d, d = max|w|/15.

    The code is j where (2j−1)d < |w| <= (2j+1)d, 7 above 13d and 0 up to d; the scale is the
    least-squares one.

    Notes
    -----
    All-zero weights stay zero, where the released code divides 0 by 0. Its cap of d at 10, which no
    network's weights reach, is left out.

    Examples
    --------
    Codes 7, −1 and 0 at d = 0.5:

    >>> four_bit(np.array([7.5, -1.0, 0.5])).round(3)
    array([ 7.49, -1.07,  0.  ])
    """
    array = check_weights(weights)
    unit = float(np.abs(array).max()) / 15
    codes = nearest_codes(array, 2 * unit, bits=4)
    return least_squares_step(array, codes) * codes


def activation_step_gradient(x: Any, bits: int, step: float, upstream: Any) -> float:
    """Gradient of the activation step α as released: 0.01·Σ upstream·d/dα, clamped to [−1, 1].

    Parameters
    ----------
    x, bits, step
        As in `faqd_math.quantize.quantize_activations`.
    upstream : array of x's shape
        The loss's derivative in the quantized activations.

    Examples
    --------
    >>> activation_step_gradient(np.array([0.25, 9.0]), 2, 0.5, np.array([1.0, 2.0]))
    0.08
    """
    _, d_step = activation_derivatives(x, bits, step)
    flow = check_array(upstream, "upstream")
    if flow.shape != d_step.shape:
        raise ValueError(
            f"upstream has shape {flow.shape} and x {d_step.shape}; equal shapes are accepted: "
            f"pass the derivative in the quantizer's output."
        )
    return float(np.clip(0.01 * (flow * d_step).sum(), -1, 1))


def _pixels_over_norms(student: Any, teacher: Any, offset: float) -> tuple[Array, Array]:
    """Pixel vectors (B, C, N) divided by (norm + offset), the teacher resized to the student."""
    student_batch, teacher_batch = check_pair(student, teacher)
    size = (student_batch.shape[2], student_batch.shape[3])
    resized = resize_bilinear(teacher_batch, size)
    return _over_norms(student_batch, offset), _over_norms(resized, offset)


def _over_norms(features: Array, offset: float) -> Array:
    pixels = features.reshape(*features.shape[:2], -1)
    normalised: Array = pixels / (np.linalg.norm(pixels, axis=1, keepdims=True) + offset)
    return normalised
