"""Quantizers: exact weight projections and the activation quantizer (§6, Q1–Q5).

b bits name a level set: δ·{−1, +1} for b = 1, δ·{0, ±1, …, ±(2^{b−1} − 1)} for b >= 2.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from faqd_math._validation import Array, check_array, check_count, check_number

Codes = NDArray[np.int64]

MAX_BITS = 8


class Projection(NamedTuple):
    """Quantized weights q = δ·q̂.

    Attributes
    ----------
    values : array, the weights' shape
        step · codes.
    codes : integer array, the weights' shape
        The integer part q̂.
    step : float, or array (channels,) per channel
        The least-squares δ = ⟨w,q̂⟩/⟨q̂,q̂⟩; 0 where all weights are 0.
    """

    values: Array
    codes: Codes
    step: float | Array


def project_weights(weights: Any, bits: int, *, channel_axis: int | None = None) -> Projection:
    """Project weights on a level set: argmin of ‖w − δq̂‖² over δ and codes q̂, exactly (Q1–Q4).

    Parameters
    ----------
    weights : array, any shape
        float16, float32 or float64, computed in float64.
    bits : int
        1 to 8; see the module for the levels.
    channel_axis : int, optional
        Give each index of this axis its own δ (0 for the output channels of a convolution);
        by default the tensor has one δ.

    Returns
    -------
    Projection

    Raises
    ------
    TypeError
        If the weights are not a floating NumPy array, or bits or channel_axis not an integer.
    ValueError
        If the weights are empty, NaN or infinite, bits is not in 1 … 8, or they lack the axis.

    Notes
    -----
    b = 1: sign(w), with sign(0) = +1, and δ = mean|w| (Q1). b >= 2: the optimal codes are
    those nearest to w at their own δ, and as δ falls from ∞, |q̂_i| rises to j at the breakpoint
    |w_i|/(j − ½). Running sums over the sorted breakpoints give every candidate's
    ⟨w,q̂⟩²/⟨q̂,q̂⟩, and the largest wins (Q3); for b = 2 this is the closed form Q2. Cost for n
    weights: O(n·2^{b−1}·(b + log n)) time and about 60·n·2^{b−1} bytes, one channel at a time.

    The error is minimal up to 2n·2^{b−1}·u·‖w‖² from rounding, u = 2⁻⁵³. A weight halfway
    between two levels is never optimal, but two minimisers can have the same error; then the
    larger δ is taken, where rounding lets the tie be seen. All-zero weights give δ = 0.

    The values are idempotent and scale-equivariant (positive factors), to rounding. They are odd,
    exactly, for b >= 2; for b = 1 exactly where no weight is 0, as both +0 and −0 take +δ (Q4).

    Examples
    --------
    Ternary: keeping both large weights beats keeping one or three.

    >>> projection = project_weights(np.array([1.0, -0.75, 0.25, 0.0]), bits=2)
    >>> projection.codes, projection.step
    (array([ 1, -1,  0,  0]), 0.875)
    """
    array, bits = check_weights(weights), _check_bits(bits)
    if channel_axis is None:
        return _project(array, bits)
    axis = _check_axis(channel_axis, array.shape)
    channels = [_project(channel, bits) for channel in np.moveaxis(array, axis, 0)]
    return Projection(
        np.stack([channel.values for channel in channels], axis),
        np.stack([channel.codes for channel in channels], axis),
        np.array([channel.step for channel in channels]),
    )


def alternating_projection(
    weights: Any, bits: int, *, iterations: int, initial_step: float | None = None
) -> tuple[Projection, Array]:
    """Alternate rounding and the least-squares step; the error never rises (Lloyd, Q3).

    Parameters
    ----------
    weights, bits
        As in `project_weights`, with one δ. For one bit the first iteration is exact (Q1).
    iterations : int
        How often to round to the nearest level (halfway goes towards 0) and then to set
        δ = ⟨w,q̂⟩/⟨q̂,q̂⟩.
    initial_step : float, optional
        The δ of the first rounding, in (0, 2·max|w|); by default max|w| over the largest code.

    Returns
    -------
    projection : Projection
        After the last iteration: a local minimum at best. `project_weights` is the global one.
    errors : array (iterations,)
        ‖w − q‖₂ after each iteration.

    Examples
    --------
    >>> weights = np.array([1.0, 0.75, 0.125, 0.125])
    >>> _, errors = alternating_projection(weights, 2, iterations=2, initial_step=1.75)
    >>> errors.round(3)
    array([0.771, 0.25 ])
    """
    array, bits = check_weights(weights), _check_bits(bits)
    iterations = check_count(iterations, "iterations")
    peak = float(np.abs(array).max())
    if initial_step is None:
        initial_step = peak / _largest_code(bits)
    else:
        hint = "choose a step that does not round every weight to 0, or None"
        initial_step = check_number(
            initial_step, "initial_step", above=0, below=2 * peak or np.inf, hint=hint
        )
    scaled, exponent = _to_unit_scale(array)
    step = float(np.ldexp(initial_step, -exponent))
    errors = np.empty(iterations)
    for i in range(iterations):
        codes = nearest_codes(scaled, step, bits)
        step = least_squares_step(scaled, codes)
        errors[i] = np.linalg.norm(scaled - step * codes)
    return _projection(codes, step, exponent), np.ldexp(errors, exponent)


def quantize_activations(x: Any, bits: int, step: float) -> Array:
    """Quantize activations: 0 for x <= 0, jα for (j−1)α < x <= jα, (2^b − 1)α beyond (Q5).

    Parameters
    ----------
    x : array, any shape
        float16, float32 or float64, computed in float64.
    bits : int
        1 to 8: levels 0, α, …, (2^b − 1)α.
    step : float
        α > 0.

    Returns
    -------
    array of x's shape, float64

    Raises
    ------
    TypeError, ValueError
        If x is not a finite floating NumPy array, bits not in 1 … 8 or step not positive.

    Examples
    --------
    >>> quantize_activations(np.array([-1.0, 0.25, 0.5, 0.75, 9.0]), bits=2, step=0.5)
    array([0. , 0.5, 0.5, 1. , 1.5])
    """
    array, levels = _check_activations(x, bits, step)
    # Comparing with the levels, instead of dividing by α, keeps every level where it is.
    return levels[np.minimum(np.searchsorted(levels, array), len(levels) - 1)]


def activation_derivatives(x: Any, bits: int, step: float) -> tuple[Array, Array]:
    """Surrogate derivatives of `quantize_activations`, for the straight-through estimator (Q5).

    Parameters
    ----------
    x, bits, step
        As in `quantize_activations`, which says what is refused.

    Returns
    -------
    d_x : array of x's shape
        1 on (0, (2^b − 1)α], else 0.
    d_step : array of x's shape
        0 for x <= 0; 2^{b−1}, the mean of the levels 1 … 2^b − 1, inside; 2^b − 1 beyond.

    Examples
    --------
    >>> activation_derivatives(np.array([-1.0, 0.25, 1.5, 9.0]), bits=2, step=0.5)
    (array([0., 1., 1., 0.]), array([0., 2., 2., 3.]))
    """
    array, levels = _check_activations(x, bits, step)
    inside = (array > 0) & (array <= levels[-1])
    beyond = array > levels[-1]
    return inside.astype(float), len(levels) // 2 * inside + (len(levels) - 1.0) * beyond


def check_weights(weights: Any) -> Array:
    """Return non-empty weights as float64."""
    array = check_array(weights, "weights")
    if array.size == 0:
        raise ValueError(
            f"weights has shape {array.shape}, which is empty; at least one weight is accepted: "
            f"leave out layers without weights."
        )
    return array


def nearest_codes(weights: Array, step: float, bits: int) -> Codes:
    """Codes of the levels nearest to the weights; halfway goes towards 0, and sign(0) = +1."""
    if bits == 1:
        return np.where(weights < 0, -1, 1)
    midpoints = step * (np.arange(1, _largest_code(bits) + 1) - 0.5)
    return np.sign(weights).astype(np.int64) * np.searchsorted(midpoints, np.abs(weights))


def least_squares_step(weights: Array, codes: Codes) -> float:
    """δ = ⟨w,q̂⟩/⟨q̂,q̂⟩, the best step for given codes; 0 for all-zero codes (Q4)."""
    square = float((codes**2).sum())
    return float((weights * codes).sum()) / square if square else 0.0


def _project(weights: Array, bits: int) -> Projection:
    scaled, exponent = _to_unit_scale(weights)
    if bits == 1:
        codes = nearest_codes(scaled, 0.0, bits)
    else:
        codes = np.sign(scaled).astype(np.int64) * _swept_codes(np.abs(scaled), bits)
    return _projection(codes, least_squares_step(scaled, codes), exponent)


def _swept_codes(magnitudes: Array, bits: int) -> Codes:
    """Maximise ⟨|w|,q̂⟩²/⟨q̂,q̂⟩ over the breakpoints of δ, from large to small (Q3)."""
    flat = magnitudes.ravel()
    levels = np.arange(1, _largest_code(bits) + 1)
    breakpoints = flat / (levels[:, np.newaxis] - 0.5)
    # Stable, on level-major data: a weight reaches level j before j + 1 even where both tie.
    order = np.argsort(-breakpoints, axis=None, kind="stable")
    level, weight = np.divmod(order, len(flat))
    inner = np.cumsum(flat[weight])
    square = np.cumsum(2 * levels[level] - 1)  # j² − (j−1)²
    taken = int(np.argmax(inner**2 / square)) + 1
    return np.bincount(weight[:taken], minlength=len(flat)).reshape(magnitudes.shape)


def _to_unit_scale(weights: Array) -> tuple[Array, int]:
    """Scale by a power of two to max|w| in [½, 1): exact, and squares cannot overflow."""
    exponent = int(np.frexp(np.abs(weights).max())[1])
    return np.ldexp(weights, -exponent), exponent


def _projection(codes: Codes, step: float, exponent: int) -> Projection:
    """Undo the scaling."""
    step = float(np.ldexp(step, exponent))
    return Projection(step * codes, codes, step)


def _largest_code(bits: int) -> int:
    return int(2 ** max(bits - 1, 1)) - 1


def _check_bits(bits: Any) -> int:
    if check_count(bits, "bits") > MAX_BITS:
        raise ValueError(
            f"bits is {bits}; an integer from 1 to {MAX_BITS} is accepted: choose fewer bits."
        )
    return int(bits)


def _check_axis(axis: Any, shape: tuple[int, ...]) -> int:
    if check_count(axis, "channel_axis", at_least=-len(shape)) >= len(shape):
        raise ValueError(
            f"channel_axis is {axis}, but weights has shape {shape}; an axis of it is accepted: "
            f"use 0 for output channels."
        )
    return int(axis)


def _check_activations(x: Any, bits: Any, step: Any) -> tuple[Array, Array]:
    """Return the activations and the levels 0, α, …, (2^b − 1)α."""
    array, bits = check_array(x, "x"), _check_bits(bits)
    finite_levels = np.finfo(float).max / 2**MAX_BITS
    hint = "pass a positive α"
    alpha = check_number(step, "step", above=0, below=finite_levels, hint=hint)
    return array, alpha * np.arange(2**bits)
