"""P(Σ w_j χ²_k ≥ x) by a contour integral through its saddle point (§3, exact law).

With K(s) = −(k/2)Σ ln(1 − 2sw_j) the cumulant generating function of Q = Σ w_j χ²_k,

    P(Q > x) = (1/2πi) ∫ exp(K(s) − sx)/s ds,

upwards between the pole at 0 and the branch points 1/(2w_j); to the left of the pole the same
integral is −P(Q ≤ x). On the real line it is Imhof's (1961), which oscillates and loses the tails.
Here the path crosses the real axis at the saddle point c of the whole integrand (Helstrom 1983;
Rice 1980), on the side of 0 where x lies of the mean, and bends to where exp(−sx) decays,

    s(v) = c + d(i sinh v + b(cosh v − 1)),

with d the width of the saddle and b/(2d) its steepest-descent curvature, b ≤ 1: at 45° or more to
the real axis no factor of exp(K) grows along the path, whatever the spectrum. In v the integrand
is a bell of width 1 with doubly exponential tails, and analytic in a strip around the real line,
so that the trapezoidal rule converges geometrically: its error is about the square of the
difference between a step and its half.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

from faqd_math._validation import Array

_FIRST_STEP = 0.15
_LAST_STEP = _FIRST_STEP / 32
_AGREEMENT = 1e-9  # between two steps: the error of the finer is then below rounding
_ROUNDING = 1e-17  # of two sums, in units of kr + |cx|: they come as close as 4e-18 at least
_REACH = np.array([3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 12.0])  # sinh(12) is 80,000 widths of the saddle
_NEGLIGIBLE = -42.0  # e^-42 of the peak is below the rounding error of the sum
_SADDLE = 1e-6  # relative error of c: the integral is the same through any point nearby
# Factors of exp(K) that share a logarithm. The argument of each moves by at most 1.53 in a unit of
# v, that of their product by less than π from one node to the next.
_FACTORS = 12
_BLOCK = 2**16  # factors at all nodes held at once, about: 1 MiB


def tails_beyond(weights: Array, k: int, x: Array) -> Array:
    """P(Q ≥ x) for each of the x (m,) at or above the mean of Q, and P(Q ≤ x) for those below it.

    The weights (r,) are positive, their largest is 1; the x are positive and finite.
    """
    block = max(1, _BLOCK // (20 * len(weights)))
    parts = [x[i : i + block] for i in range(0, len(x), block)]
    return np.concatenate([np.empty(0), *(_integrals(weights, k, part) for part in parts)])


def _integrals(weights: Array, k: int, x: Array) -> Array:
    """Integrate along a path for each x (m,), all with one step."""
    c = np.array([_saddle_point(weights, k, float(value)) for value in x])
    shares = 2 * np.multiply.outer(weights, c)  # of the way to the branch points: below 1
    slopes = shares / (1 - shares)
    log_peak = -0.5 * k * np.log1p(-shares).sum(axis=0) - c * x
    # All in units of c, whose powers could under- or overflow.
    second = 0.5 * k * (slopes**2).sum(axis=0) + 1
    third = k * (slopes**3).sum(axis=0) - 2
    width = np.sign(c) * second**-0.5
    # Steepest descent has curvature third/(6·second) at the saddle; the path's is bend/(2·width).
    # The lower end keeps the tails decaying where steepest descent bends back round the pole.
    bend = np.clip(third * width**3 / 3, 0.25, 1.0)

    # Zeros fill up the last group: their factors are 1.
    slopes = np.pad(slopes, ((0, -len(slopes) % _FACTORS), (0, 0))).reshape(-1, _FACTORS, len(x))

    def logarithm(v: Array) -> Array:
        """Of the integrand over its peak, with the path's derivative: (m, n) for v (n,)."""
        path = width[:, np.newaxis] * (1j * np.sinh(v) + np.multiply.outer(bend, np.cosh(v) - 1))
        speed = width[:, np.newaxis] * (1j * np.cosh(v) + np.multiply.outer(bend, np.sinh(v)))
        factors = slopes[:, :, :, np.newaxis] * path
        np.subtract(1, factors, out=factors)
        exponent = -0.5 * k * _sum_of_logarithms(factors) - (c * x)[:, np.newaxis] * path
        return np.asarray(exponent - np.log(1 + path) + np.log(speed))

    peak = np.log(np.abs(width))
    left = (logarithm(_REACH).real > peak[:, np.newaxis] + _NEGLIGIBLE).any(axis=0)
    reach = _REACH[np.count_nonzero(left)]
    step = _FIRST_STEP
    values = np.exp(logarithm(np.arange(0.0, reach, step))).imag
    totals = step * (values.sum(axis=1) - 0.5 * values[:, 0])
    agreement = np.maximum(_AGREEMENT, _ROUNDING * (k * len(weights) + np.abs(c * x)))
    while step > _LAST_STEP:
        values = np.exp(logarithm(np.arange(0.5 * step, reach, step))).imag
        refined = 0.5 * (totals + step * values.sum(axis=1))
        if (np.abs(refined - totals) <= agreement * np.abs(refined)).all():
            return np.asarray(np.sign(c) * np.exp(log_peak) * refined / np.pi)
        step, totals = 0.5 * step, refined
    raise ArithmeticError(
        f"the integral of the exact law does not converge for k = {k} and {len(weights)} "
        f"eigenvalues; a bound holds there too: ask one of faqd_math.theory.bounds."
    )


def _sum_of_logarithms(factors: Array) -> Array:
    """Sum ln over the first two axes of factors (groups, a few, m, n), continuous along the last.

    A logarithm costs as much as ten products: the factors of a group share one.
    """
    logarithms = np.log(factors.prod(axis=1))
    logarithms.imag = np.unwrap(logarithms.imag, axis=-1)
    return np.asarray(logarithms.sum(axis=0))


def _saddle_point(weights: Array, k: int, x: float) -> float:
    """Where exp(K(s) − sx)/|s| is smallest: in (0, ½) for x at or above the mean, else s < 0."""
    mean = k * float(weights.sum())
    if x >= mean:
        # K'(s) ≤ mean/(1 − 2s) gives the left end. The largest weight is 1, so that
        # K'(s) ≥ k/(1 − 2s), and 1/s ≤ 4 from ¼ on: the right end.
        side, ends = 1.0, (0.5 * min(0.25, 0.5 * mean**-0.5), 0.5 - 0.25 * min(k / (x + 4), 0.5))
    else:
        # 0 ≤ K'(s) ≤ kr/(2|s|) brackets |s|.
        side, ends = -1.0, (0.5 / x, (k * len(weights) + 2) / x)

    def slope(log_s: float) -> float:
        s = side * np.exp(log_s)
        return float(k * (weights / (1 - 2 * s * weights)).sum() - x - 1 / s)

    # |s| may span decades: search its logarithm.
    return side * float(np.exp(brentq(slope, *np.log(ends), xtol=_SADDLE, rtol=_SADDLE)))
