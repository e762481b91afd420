"""FA and FFA, their gradients and batches against the reference, as assertions (§1, I8, I9).

Each takes the implementation first, as in `faqd_math.testing.properties`; where probes (N, k)
follow the maps, the implementation takes them as third argument and is held to be FFA, else FA.
Maps are single, (C, H, W), unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from faqd_math._validation import Array
from faqd_math.features import affinity
from faqd_math.gradients import fa_gradient, ffa_gradient
from faqd_math.losses import Order, Reduction, fa_loss, ffa_loss
from faqd_math.testing.properties import assert_close, fast_loss_tolerance, loss_tolerance

#: Norm of the pixels in `loss_ignores_tiny_norms`: its square is far from underflow in float32.
TINY_NORM = 1e-6


def loss_is_its_definition(
    loss: Callable[..., Any],
    student: Array,
    teacher: Array,
    *probes: Array,
    order: Order = 2,
    resized: bool = False,
) -> None:
    """§1: FA is Σ|A_ij|^order/N²; with probes, FFA is Σ|(AZ)_ij|^order/(kN²).

    ``resized`` says that the teacher has another size, with pixels that interpolation leaves at
    1e-2 of their neighbours (as `feature_pairs` draws them) and as much less exact.
    """
    came = loss(student, teacher, *probes)
    definition = ffa_loss if probes else fa_loss
    tolerance = (100 if resized else 1) * _tolerance(student, teacher, *probes)
    what = f"{'FFA' if probes else 'FA'} of order {order} (§1)"
    assert_close(came, definition(student, teacher, *probes, order=order), tolerance, what)


def gradient_is_its_definition(
    gradient: Callable[..., Array],
    student: Array,
    teacher: Array,
    *probes: Array,
    order: Order = 2,
) -> None:
    """I8, I9: the gradient with respect to the student is the closed form's, 0 at dead pixels.

    They are compared times ‖F_i‖, which no scale of the pixels enters. At order 1, where signs
    within rounding of 0 leave the choice of a subgradient, nothing is asserted. Maps have one
    size.
    """
    if order == 1 and not _signs_are_settled(student, teacher, *probes):
        return
    came = gradient(student, teacher, *probes)
    closed_form = ffa_gradient if probes else fa_gradient
    norms = np.linalg.norm(student.astype(float), axis=0)
    scale = np.where(norms > 0, norms, 1.0)
    expected = closed_form(student, teacher, *probes, order=order)
    # The gradient by X is 4/N² times N products; with probes, of as many again with ZZᵀ.
    tolerance = 8 * loss_tolerance(student, teacher)
    if probes:
        tolerance *= 1 + float((probes[0] ** 2).sum())
    what = f"{'I9' if probes else 'I8'}: ‖F_i‖ times the gradient"
    assert_close(scale * came, scale * expected, tolerance, what)


def batch_is_reduced(
    loss: Callable[..., Any],
    student: Array,
    teacher: Array,
    *probes: Array,
    reduction: Reduction = "mean",
) -> None:
    """§1: a batch (B, C, H, W) gives the mean, the sum or each of its samples' own values."""
    each = np.array([loss(s, t, *probes) for s, t in zip(student, teacher, strict=True)])
    expected = {"mean": each.mean(), "sum": each.sum(), "none": each}[reduction]
    # A sum adds up its samples' errors; a resized teacher's are those of a definition.
    tolerance = 2 * len(student) * _tolerance(student, teacher, *probes)
    assert_close(loss(student, teacher, *probes), expected, tolerance, f"{reduction} of a batch")


def loss_ignores_tiny_norms(
    loss: Callable[..., Any], student: Array, teacher: Array, *probes: Array
) -> None:
    """I2: pixels of norm 1e-6 count like those of norm 1, so that no ε is added to norms."""
    unit = [maps / np.linalg.norm(maps, axis=0) for maps in (student, teacher)]
    expected = loss(*unit, *probes)
    tiny = [(TINY_NORM * maps).astype(maps.dtype) for maps in unit]
    tolerance = _tolerance(student, teacher, *probes)
    assert_close(loss(tiny[0], unit[1], *probes), expected, tolerance, "I2: tiny student")
    assert_close(loss(unit[0], tiny[1], *probes), expected, tolerance, "I2: tiny teacher")


def _tolerance(student: Array, teacher: Array, *probes: Array) -> float:
    if probes:
        return fast_loss_tolerance(student, teacher, probes[0])
    return loss_tolerance(student, teacher)


def _signs_are_settled(student: Array, teacher: Array, *probes: Array) -> bool:
    """Tell whether no entry of A off its diagonal, or of AZ, is within 1e3 roundings of 0."""
    gap = affinity(student) - affinity(teacher)
    entries = gap @ probes[0] if probes else gap[~np.eye(len(gap), dtype=bool)]
    return bool((np.abs(entries) > 1e3 * _tolerance(student, teacher, *probes)).all())
