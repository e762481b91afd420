"""FA and FFA to some 40 digits: the oracle of claims on rounding (§5).

Arrays of Python's `decimal.Decimal` numbers, which hold every float64 exactly and neither over- nor
underflow.
"""

from __future__ import annotations

from decimal import Context, Decimal, localcontext
from typing import Any

import numpy as np

from faqd_math._validation import check_pair, check_probes
from faqd_math.features import resize_bilinear

_DIGITS = 40
# Relative error of one operation.
ROUNDOFF = 10.0**-39

_decimals = np.frompyfunc(Decimal, 1, 1)
_roots = np.frompyfunc(Decimal.sqrt, 1, 1)


def fa_loss(student: Any, teacher: Any) -> Decimal:
    """Exact FA of order 2 of one sample's maps, by the Gram identity (§1, I4).

    Parameters
    ----------
    student, teacher : array (C, H, W)
        As in `faqd_math.fa_loss`. A teacher of another size is resized in float64.

    Returns
    -------
    Decimal
        Its error is of order 1e-39·(‖S_s‖² + ‖S_t‖²)/μ, relative: 23 digits are left where the
        affinities differ by 1e-8 of their size.

    Examples
    --------
    >>> parallel, orthogonal = np.ones((1, 1, 2)), np.eye(2).reshape(2, 1, 2)
    >>> float(fa_loss(parallel, orthogonal))
    0.5
    """
    with localcontext(Context(prec=_DIGITS)):
        x, y = _unit_pixel_pair(student, teacher)
        squares = [(product**2).sum() for product in (x @ x.T, y @ y.T, x @ y.T)]
        return Decimal(squares[0] + squares[1] - 2 * squares[2]) / x.shape[1] ** 2


def ffa_loss(student: Any, teacher: Any, probes: Any) -> Decimal:
    """FFA of order 2 of one sample's maps with the given probes (N, k) (§1).

    Its error is of order 1e-39·√N·‖Z‖_F/‖AZ‖_F, relative.

    Examples
    --------
    >>> parallel, orthogonal = np.ones((1, 1, 2)), np.eye(2).reshape(2, 1, 2)
    >>> float(ffa_loss(parallel, orthogonal, np.ones((2, 1))))
    0.5
    """
    with localcontext(Context(prec=_DIGITS)):
        x, y = _unit_pixel_pair(student, teacher)
        z = np.asarray(_decimals(check_probes(probes, n=x.shape[1], batch=1)))
        images = x.T @ (x @ z) - y.T @ (y @ z)
        return Decimal((images**2).sum()) / (z.shape[-1] * x.shape[1] ** 2)


def relative_error(value: float, exact: Decimal) -> float:
    """Return |value − exact|/exact for an exact value above 0.

    Examples
    --------
    >>> relative_error(0.5 + 2.0**-53, Decimal("0.5"))
    2.220446049250313e-16
    """
    with localcontext(Context(prec=_DIGITS)):
        return float(abs(Decimal(float(value)) - exact) / exact)


def _unit_pixel_pair(student: Any, teacher: Any) -> tuple[Any, Any]:
    """Return x_i = F_i/‖F_i‖ of both maps as decimals (C, N), 0 at dead pixels."""
    (student_map,), (teacher_map,) = check_pair(student, teacher)
    size = (student_map.shape[1], student_map.shape[2])
    resized = resize_bilinear(teacher_map[np.newaxis], size)[0]
    units = []
    for features in (student_map, resized):
        pixels = _decimals(features.reshape(len(features), -1))
        norms = _roots((pixels**2).sum(axis=0))
        norms[norms == 0] = Decimal(1)
        units.append(pixels / norms)
    return units[0], units[1]
