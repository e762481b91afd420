"""Claims on the quantizers, each against a search or a definition that shares no code (§6)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from faqd_math._validation import Array
from faqd_math.claims.evidence import Claim, Evidence, Sampling
from faqd_math.claims.subjects import Weights
from faqd_math.quantize import (
    Projection,
    activation_derivatives,
    alternating_projection,
    project_weights,
    quantize_activations,
)

# Weights of a group, such that all assignments of levels can be listed: some thousands.
_GROUP_SIZE = {1: 6, 2: 6, 3: 4, 4: 3, 8: 2}
_GROUPS = 8
_STEPS = 256  # of the grid over δ on the whole layer
_ITERATIONS = 6
_ROUNDOFF = float(np.finfo(np.float64).eps) / 2

Pairs = Iterator[tuple[float, float]]


def _minimal(
    layer: Weights,
    sampling: Sampling,
    *,
    bits: tuple[int, ...],
    closed_form: Callable[[Array], Array] | None = None,
) -> Evidence:
    """Error of the projection beside the least one found, where it comes off worst."""
    weights = _peak_one(layer)
    pairs = [pair for b in bits for pair in _errors(weights, b, sampling, closed_form)]
    error, least = max(pairs, key=lambda pair: pair[0] - pair[1])
    # Of the running sums by which the sweep of the breakpoints chooses.
    rounding = 4 * weights.size * 2 ** max(bits) * _ROUNDOFF
    return Evidence(error, least, "<=", rounding)


def _errors(
    weights: Array, bits: int, sampling: Sampling, closed_form: Callable[[Array], Array] | None
) -> Pairs:
    """Yield errors relative to ‖w‖², each with one that it must not exceed."""
    size = min(_GROUP_SIZE[bits], weights.size)
    groups = [sampling.rng.choice(weights, size, replace=False) for _ in range(_GROUPS)]
    assignments = np.stack(np.meshgrid(*[_levels(bits)] * size), axis=-1).reshape(-1, size)
    for group in groups:
        yield _projection_error(group, bits), _least_over_assignments(group, assignments)
    exact = _projection_error(weights, bits)
    yield exact, _least_over_steps(weights, bits)
    if closed_form is not None:
        for array in (weights, *groups):
            yield _relative_error(array, closed_form(array)), _projection_error(array, bits)
    if bits > 2:
        yield from _alternating(weights, bits, exact)


def _alternating(weights: Array, bits: int, exact: float) -> Pairs:
    """Yield each iteration's error with the one before, and the exact error with the last."""
    norm = float(np.linalg.norm(weights)) or 1.0
    _, errors = alternating_projection(weights, bits, iterations=_ITERATIONS)
    squares = [1.0, *(float(error / norm) ** 2 for error in errors)]
    for before, after in itertools.pairwise(squares):
        yield after, before
    yield exact, squares[-1]


def _projection_error(weights: Array, bits: int) -> float:
    """Error of the projection; infinite if it is not on the level set."""
    projection = project_weights(weights, bits)
    on_levels = np.isin(projection.codes, _levels(bits)).all() and projection.step >= 0
    same = np.array_equal(projection.values, projection.step * projection.codes)
    return _relative_error(weights, projection.values) if on_levels and same else np.inf


def _relative_error(weights: Array, values: Array) -> float:
    return float(((weights - values) ** 2).sum() / ((weights**2).sum() or 1.0))


def _least_over_assignments(weights: Array, codes: NDArray[np.int64]) -> float:
    """Try every assignment of codes, each with its own best step δ >= 0."""
    squares = np.maximum((codes**2).sum(axis=1), 1)
    steps = np.maximum(codes @ weights / squares, 0)
    errors = ((weights - steps[:, np.newaxis] * codes) ** 2).sum(axis=1)
    return float(errors.min() / ((weights**2).sum() or 1.0))


def _least_over_steps(weights: Array, bits: int) -> float:
    """Round to the nearest level at each δ of a geometric grid."""
    largest = _levels(bits)[-1]
    magnitudes = np.abs(weights)
    mean, peak = float(magnitudes.mean()), float(magnitudes.max())
    if peak == 0:
        return 0.0
    lowest_code = 1 if bits == 1 else 0
    return min(
        _relative_error(
            magnitudes, step * np.clip(np.rint(magnitudes / step), lowest_code, largest)
        )
        for step in np.geomspace(mean / (2 * largest), 2 * peak, _STEPS)
    )


def _levels(bits: int) -> list[int]:
    return [-1, 1] if bits == 1 else list(range(1 - 2 ** (bits - 1), 2 ** (bits - 1)))


def _peak_one(layer: Weights) -> Array:
    """Scale the weights to a largest magnitude of 1, so that squares stay in range."""
    return layer.values / (float(np.abs(layer.values).max()) or 1.0)


def _mean_and_signs(weights: Array) -> Array:
    return np.abs(weights).mean() * np.where(weights < 0, -1.0, 1.0)


def _largest_at_their_mean(weights: Array) -> Array:
    """Keep the m largest magnitudes with the largest (Σ_top m |w|)²/m."""
    sums = np.cumsum(np.sort(np.abs(weights))[::-1])
    counts = np.arange(1, weights.size + 1)
    kept = int(np.argmax(sums**2 / counts)) + 1
    largest = np.argsort(-np.abs(weights), kind="stable")[:kept]
    values = np.zeros(weights.size)
    values[largest] = np.sign(weights[largest]) * sums[kept - 1] / kept
    return values


def _symmetries(layer: Weights, sampling: Sampling) -> Evidence:
    """Largest violation of Q4, relative to the largest weight."""
    weights = _peak_one(layer)
    factor = float(10 ** sampling.rng.uniform(-2, 2))
    violations = [
        violation
        for bits in _GROUP_SIZE
        for violation in _violations(weights, bits, factor, project_weights(weights, bits))
    ]
    return Evidence(max(violations), 0.0, "=", 16 * weights.size * _ROUNDOFF)


def _violations(weights: Array, bits: int, factor: float, once: Projection) -> Iterator[float]:
    twice = project_weights(once.values, bits).values
    yield float(np.abs(twice - once.values).max())
    # By a power of two the values scale; by any factor the error does, as rounding may choose
    # another of two equally good minimisers.
    quarter = project_weights(weights / 4, bits).values
    yield float(np.abs(4 * quarter - once.values).max())
    scaled = project_weights(factor * weights, bits).values / factor
    yield abs(_relative_error(weights, scaled) - _relative_error(weights, once.values))
    odd = project_weights(-weights, bits).values + once.values
    zero = (weights == 0) & (bits == 1)
    yield float(np.abs(np.where(zero, odd - 2 * once.step, odd)).max())
    inner, square = float(weights @ once.codes), float(once.codes @ once.codes)
    yield abs(float(once.step) - (inner / square if square else 0.0))


def _activations(layer: Weights, _: Sampling) -> Evidence:
    """Points at which a value or a surrogate derivative is not as defined."""
    # A network's α is of the size of its values.
    step = float(np.abs(layer.values).mean()) or 1.0
    wrong = sum(_off_definition(step, bits) for bits in range(1, 9))
    return Evidence(float(wrong), 0.0, "=", 0.0)


def _off_definition(step: float, bits: int) -> int:
    largest = 2**bits - 1
    breakpoints = step * np.arange(-1, largest + 3)
    around = [np.nextafter(breakpoints, side) for side in (-np.inf, np.inf)]
    x = np.concatenate([breakpoints, *around, breakpoints + step / 2])
    # The level is the number of jα, j = 0 … 2^b − 2, that lie below x.
    level = (x[:, np.newaxis] > step * np.arange(largest)).sum(axis=1)
    beyond = x > step * largest
    inside = (x > 0) & ~beyond
    d_x, d_step = activation_derivatives(x, bits, step)
    right = (quantize_activations(x, bits, step) == step * level) & (d_x == inside)
    return int((~(right & (d_step == 2 ** (bits - 1) * inside + largest * beyond))).sum())


QUANTIZERS = (
    Claim(
        "Q1",
        "enumeration",
        partial(_minimal, bits=(1,), closed_form=_mean_and_signs),
        on=Weights,
    ),
    Claim(
        "Q2",
        "enumeration",
        partial(_minimal, bits=(2,), closed_form=_largest_at_their_mean),
        on=Weights,
    ),
    Claim("Q3", "enumeration", partial(_minimal, bits=(3, 4, 8)), on=Weights),
    Claim("Q4", "identity", _symmetries, on=Weights),
    Claim("Q5", "enumeration", _activations, on=Weights),
)
