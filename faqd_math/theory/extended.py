"""FA and FFA in double-double arithmetic, about 31 digits: the oracle of claims on rounding (§5).

A number is the unevaluated sum of two float64 (Dekker 1971). Its sum and product start from the
exact error of a float64 sum (Knuth's TwoSum) and product (Dekker's TwoProduct), as in the
algorithms of Hida, Li & Bailey (2001).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from faqd_math._validation import Array, check_pair, check_probes
from faqd_math.features import resize_bilinear

# Relative error of one operation: a few times 2⁻¹⁰⁶.
ROUNDOFF = 2.0**-103

# Products of a matrix product held at once: 64 KiB for each of their two parts.
_PRODUCTS = 2**13

# 2²⁷ + 1 splits 53 bits into two halves whose products are exact.
_SPLITTER = 2.0**27 + 1


@dataclass(frozen=True)
class DoubleDouble:
    """An array of numbers ``high + low``, with ``high`` the float64 nearest to each."""

    high: Array
    low: Array

    def __getitem__(self, index: Any) -> DoubleDouble:
        return DoubleDouble(self.high[index], self.low[index])

    @property
    def mT(self) -> DoubleDouble:
        """The matrix with rows and columns exchanged."""
        return DoubleDouble(self.high.mT, self.low.mT)

    def __neg__(self) -> DoubleDouble:
        return DoubleDouble(-self.high, -self.low)

    def __add__(self, other: DoubleDouble) -> DoubleDouble:
        high, error = _two_sum(self.high, other.high)
        low, error_of_low = _two_sum(self.low, other.low)
        high, error = _two_sum(high, error + low)
        return DoubleDouble(*_two_sum(high, error + error_of_low))

    def __sub__(self, other: DoubleDouble) -> DoubleDouble:
        return self + -other

    def __mul__(self, other: DoubleDouble) -> DoubleDouble:
        high, error = _two_product(self.high, other.high)
        return DoubleDouble(*_two_sum(high, error + self.high * other.low + self.low * other.high))

    def __truediv__(self, other: DoubleDouble) -> DoubleDouble:
        """Divide as by hand, one float64 of the quotient after the other."""
        quotient, rest = exactly(np.zeros(())), self
        for _ in range(3):
            digit = exactly(rest.high / other.high)
            quotient, rest = quotient + digit, rest - digit * other
        return quotient

    def __matmul__(self, other: DoubleDouble) -> DoubleDouble:
        """Multiply matrices (m, p) and (p, n), as many rows at a time as fit in a cache."""
        if other.high.shape[1] < len(self.high):
            return (other.mT @ self.mT).mT
        rows = max(1, _PRODUCTS // other.high.size)
        left, right = self.mT[:, :, np.newaxis], other[:, np.newaxis]
        parts = [(left[:, i : i + rows] * right).sum() for i in range(0, len(self.high), rows)]
        return DoubleDouble(
            np.concatenate([part.high for part in parts]),
            np.concatenate([part.low for part in parts]),
        )

    def sum(self) -> DoubleDouble:
        """Sum over the first axis, in pairs."""
        total = self
        while (count := len(total.high)) > 1:
            pairs = total[: count // 2] + total[count // 2 : 2 * (count // 2)]
            odd = total[2 * (count // 2) :]
            total = DoubleDouble(
                np.concatenate([pairs.high, odd.high]), np.concatenate([pairs.low, odd.low])
            )
        return total[0]

    def sqrt(self) -> DoubleDouble:
        """Square root of numbers that are not negative: one Newton step from the float64 one."""
        root = exactly(np.sqrt(self.high))
        rest = (self - root * root).high
        step = np.divide(rest, 2 * root.high, out=np.zeros_like(rest), where=root.high > 0)
        return root + exactly(step)


def exactly(values: Array) -> DoubleDouble:
    """Take float64 numbers as they are.

    Examples
    --------
    A third to 31 digits, times 3:

    >>> third = exactly(np.ones(1)) / exactly(np.full(1, 3.0))
    >>> three = third + third + third
    >>> bool(abs((three - exactly(np.ones(1))).high[0]) < ROUNDOFF)
    True
    """
    return DoubleDouble(values, np.zeros_like(values))


def fa_loss(student: Any, teacher: Any) -> DoubleDouble:
    """Exact FA of order 2 of one sample's maps, by the Gram identity (§1, I4).

    Parameters
    ----------
    student, teacher : array (C, H, W)
        As in `faqd_math.fa_loss`. A teacher of another size is resized in float64.

    Returns
    -------
    DoubleDouble, of shape ()
        Its error is of order 2⁻¹⁰³·(‖S_s‖² + ‖S_t‖²)/μ, relative: 16 digits are left where the
        affinities differ by 1e-8 of their size.

    Examples
    --------
    >>> parallel, orthogonal = np.ones((1, 1, 2)), np.eye(2).reshape(2, 1, 2)
    >>> float(fa_loss(parallel, orthogonal).high)
    0.5
    """
    x, y = _unit_pixel_pair(student, teacher)
    twice_cross = _scaled(_squared_norm(x @ y.mT), 2.0)
    mu = _squared_norm(x @ x.mT) + _squared_norm(y @ y.mT) - twice_cross
    return _over(mu, x.high.shape[1] ** 2)


def ffa_loss(student: Any, teacher: Any, probes: Any) -> DoubleDouble:
    """FFA of order 2 of one sample's maps with the given probes (N, k) (§1).

    Its error is of order 2⁻¹⁰³·√N·‖Z‖_F/‖AZ‖_F, relative.

    Examples
    --------
    >>> parallel, orthogonal = np.ones((1, 1, 2)), np.eye(2).reshape(2, 1, 2)
    >>> float(ffa_loss(parallel, orthogonal, np.ones((2, 1))).high)
    0.5
    """
    x, y = _unit_pixel_pair(student, teacher)
    n = x.high.shape[1]
    z = exactly(check_probes(probes, n=n, batch=1))
    images = x.mT @ (x @ z) - y.mT @ (y @ z)
    return _over(_squared_norm(images), z.high.shape[-1] * n**2)


def relative_error(value: float, exact: DoubleDouble) -> float:
    """Return |value − exact|/exact for an exact value above 0.

    Examples
    --------
    >>> relative_error(0.5 + 2.0**-53, exactly(np.array(0.5)))
    2.220446049250313e-16
    """
    return float(abs(((value - exact.high) - exact.low) / exact.high))


def _unit_pixel_pair(student: Any, teacher: Any) -> tuple[DoubleDouble, DoubleDouble]:
    (student_map,), (teacher_map,) = check_pair(student, teacher)
    size = (student_map.shape[1], student_map.shape[2])
    resized = resize_bilinear(teacher_map[np.newaxis], size)[0]
    return _unit_pixels(student_map), _unit_pixels(resized)


def _unit_pixels(features: Array) -> DoubleDouble:
    """x_i = F_i/‖F_i‖ as (C, N), 0 at dead pixels; the powers of 2 that prevent overflow cancel."""
    pixels = features.reshape(len(features), -1)
    _, exponents = np.frexp(np.abs(pixels).max(axis=0))
    scaled = exactly(np.ldexp(pixels, -exponents))
    norms = (scaled * scaled).sum().sqrt()
    return scaled / DoubleDouble(np.where(norms.high > 0, norms.high, 1.0), norms.low)


def _squared_norm(matrix: DoubleDouble) -> DoubleDouble:
    return (matrix * matrix).sum().sum()


def _scaled(value: DoubleDouble, power_of_two: float) -> DoubleDouble:
    return DoubleDouble(power_of_two * value.high, power_of_two * value.low)


def _over(value: DoubleDouble, count: int) -> DoubleDouble:
    return value / exactly(np.array(float(count)))


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """Return a + b in float64 and the exact error of that."""
    total = a + b
    of_b = total - a
    return total, (a - (total - of_b)) + (b - of_b)


def _two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """Return a·b in float64 and the exact error of that."""
    product = a * b
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, error


def _halves(a: Array) -> tuple[Array, Array]:
    scaled = _SPLITTER * a
    high = scaled - (scaled - a)
    return high, a - high
