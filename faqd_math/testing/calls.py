"""What holds from call to call: inputs left alone, probes drawn anew, unbiased values.

Each takes the implementation first, as in `faqd_math.testing.properties`. What holds on average
is checked over ``replications`` calls (2,000 or more: the central limit theorem) and fails for a
true statement with probability ``false_alarm``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from faqd_math._validation import Array
from faqd_math.confidence import variance_estimate
from faqd_math.gradients import fa_gradient
from faqd_math.losses import Order, Reduction, fa_loss
from faqd_math.probes import sample_probes
from faqd_math.spectrum import gap_spectrum
from faqd_math.testing.properties import assert_at_most, assert_close, loss_tolerance
from faqd_math.testing.replication import assert_mean
from faqd_math.theory.moments import variance


def inputs_are_left(loss: Callable[..., Any], *inputs: Array) -> None:
    """Assert that the call does not write into its arguments."""
    before = [array.copy() for array in inputs]
    loss(*inputs)
    for position, (old, new) in enumerate(zip(before, inputs, strict=True), start=1):
        assert_close(new, old, 0.0, f"argument {position} after the call")


def value_is_repeatable(loss: Callable[..., Any], *inputs: Array) -> None:
    """Equal arguments give equal values, to the last bit."""
    first, second = (loss(*(array.copy() for array in inputs)) for _ in range(2))
    assert_close(second, first, 0.0, "the same call, made again")


def value_is_finite(loss: Callable[..., Any], student: Array, teacher: Array) -> None:
    """R4: the value is finite."""
    came = loss(student, teacher)
    if not np.isfinite(came).all():
        raise AssertionError(f"R4: {came}, where a finite value is expected.")


def probes_are_fresh(loss: Callable[..., Any], student: Array, teacher: Array) -> None:
    """R2: a loss that draws its own probes draws others at each call, so no value repeats."""
    values = [float(loss(student, teacher)) for _ in range(5)]
    if len(set(values)) < len(values):
        raise AssertionError(
            f"R2: five calls give {values}; values that all differ are expected of fresh probes."
        )


def mean_is_fa(
    loss: Callable[..., Any],
    student: Array,
    teacher: Array,
    *,
    order: Order = 2,
    replications: int = 2000,
    false_alarm: float = 1e-6,
) -> None:
    """P1, and R1 at order 1: the mean over calls that draw their own probes is FA."""
    assert_mean(
        np.array([float(loss(student, teacher)) for _ in range(replications)]),
        fa_loss(student, teacher, order=order),
        false_alarm=false_alarm,
        rounding=loss_tolerance(student, teacher),
        what=f"{'P1' if order == 2 else 'R1'}: the mean over {replications} calls",
    )


def mean_over_probes_is_fa(
    fast_loss: Callable[..., Any],
    student: Array,
    teacher: Array,
    rng: np.random.Generator,
    *,
    k: int = 15,
    **options: Any,
) -> None:
    """As `mean_is_fa`, over gaussian probes that are the third argument."""
    n = student.shape[-2] * student.shape[-1]

    def loss(student: Array, teacher: Array) -> Any:
        return fast_loss(student, teacher, sample_probes(n, k, rng=rng))

    mean_is_fa(loss, student, teacher, **options)


def means_agree(
    loss: Callable[..., Any],
    student: Array,
    teacher: Array,
    same_student: Array,
    same_teacher: Array,
    *,
    replications: int = 2000,
) -> None:
    """Two pairs of maps with equal affinities have equal means over calls."""
    pairs = (student, teacher), (same_student, same_teacher)
    values = np.array([[float(loss(*pair)) for pair in pairs] for _ in range(replications)])
    assert_mean(
        values[:, 0] - values[:, 1],
        0.0,
        rounding=2 * loss_tolerance(student, teacher),
        what=f"the mean difference from equal affinities over {replications} calls",
    )


def batch_mean_is_reduced(
    loss: Callable[..., Any],
    student: Array,
    teacher: Array,
    *,
    reduction: Reduction = "mean",
    replications: int = 2000,
    false_alarm: float = 1e-6,
) -> None:
    """On average a batch (B, C, H, W) gives the mean, the sum or each of its samples' values."""
    samples = list(zip(student, teacher, strict=True))

    def difference() -> Array:
        each = np.array([loss(s, t) for s, t in samples])
        reduced = {"mean": each.mean(), "sum": each.sum(), "none": each}[reduction]
        return np.atleast_1d(loss(student, teacher) - reduced)

    differences = np.array([difference() for _ in range(replications)])
    for column in differences.T:
        assert_mean(
            column,
            0.0,
            false_alarm=false_alarm / differences.shape[1],
            rounding=2 * len(samples) * loss_tolerance(student, teacher),
            what=f"the mean difference from its samples' {reduction} over {replications} calls",
        )


def variance_is_that_of_probes(
    loss: Callable[..., Any],
    student: Array,
    teacher: Array,
    *,
    k: int = 15,
    replications: int = 2000,
    false_alarm: float = 1e-6,
) -> None:
    """P2–P4: at order 2 the variance is at most 2S₄/(kN⁴), whatever the law of the k probes."""
    samples = np.array([float(loss(student, teacher)) for _ in range(replications)])
    found = variance_estimate(samples)
    n = student.shape[-2] * student.shape[-1]
    bound = variance(gap_spectrum(student, teacher), k) / n**4
    chance = found.half_width(2 * false_alarm)
    assert_at_most(found.value, bound, chance, f"P2: variance over calls with {k} probes")


def gradient_mean_is_fa_gradient(
    gradient: Callable[..., Array],
    student: Array,
    teacher: Array,
    *,
    replications: int = 2000,
    false_alarm: float = 1e-6,
) -> None:
    """P8: at order 2 the mean gradient over calls that draw their own probes is FA's (I8)."""
    samples = np.array([gradient(student, teacher) for _ in range(replications)])
    columns = samples.reshape(replications, -1).T
    # The gradient is the product of one by X, of rounding like the loss's, with 1/‖F_i‖.
    smallest = float(np.linalg.norm(student, axis=0).min())
    for column, entry in zip(columns, fa_gradient(student, teacher).ravel(), strict=True):
        assert_mean(
            column,
            float(entry),
            false_alarm=false_alarm / len(columns),  # each entry may raise the alarm
            rounding=8 * loss_tolerance(student, teacher) / smallest,
            what=f"P8: an entry of the mean gradient over {replications} calls",
        )
