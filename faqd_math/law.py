"""The exact law of T = ‖AZ‖_F²/k for gaussian probes: kT = Σ_j λ_j² χ²_k, independent (§3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from scipy.optimize import brentq

from faqd_math._validation import Array, check_choice, check_count, check_number, check_spectrum
from faqd_math.spectrum import relative_squares

Tail = Literal["both", "upper", "lower"]

_SMALLEST, _LARGEST = 1e-290, 1e290  # what counts as 0 and ∞ in units of max λ²
_UNDERFLOW = 750.0  # e^-750 is 0 in float64
_REACH = 12.0  # v beyond which no integrand is left: sinh(12) is 80,000 widths of the saddle
_FIRST_STEP = 0.25
_LAST_STEP = _FIRST_STEP / 32
_NEGLIGIBLE = -42.0  # e^-42 of the peak is below the rounding error of the sum
_AGREEMENT = 1e-12  # between two steps; the error itself is about the square of their difference
_ROUNDING = 1e-17  # of two sums, in units of kr + |cx|: they come as close as 4e-18 at least
_MOST_PROBES = 2**53  # from where on a float does not tell k from k + 1


def failure_probability(spectrum: Any, k: int, epsilon: float, *, tail: Tail = "both") -> float:
    """Exact P(|T − μ| ≥ εμ) for k gaussian probes, or one side of it (§3, exact law).

    Parameters
    ----------
    spectrum : array (r,)
        Eigenvalues λ of the gap, from `faqd_math.gap_spectrum`; only λ²/max λ² matters.
    k : int
        Probes.
    epsilon : float
        Relative error, above 0. The lower side is empty from 1 on.
    tail : {"both", "upper", "lower"}
        P(|T − μ| ≥ εμ), P(T ≥ (1+ε)μ) or P(T ≤ (1−ε)μ).

    Returns
    -------
    float
        Probability; 0 for a zero gap (empty or zero spectrum), whose T is μ = 0 always.

    Raises
    ------
    TypeError, ValueError
        If the spectrum is no finite floating vector, k no positive integer, epsilon no positive
        finite number, or the tail unknown; and if kr is above 2⁵³.
    ArithmeticError
        If the integral does not converge, which no input is known to bring about.

    Notes
    -----
    Relative accuracy about 1e-11 for each side, far tails included, but never better
    than 2e-17·kr: at k = 10¹² four digits are left. See `tail_probability`.

    Examples
    --------
    The released default of 15 probes misses the value of a gap of rank 1 by half its size
    once in seven draws:

    >>> round(failure_probability(np.array([1.0]), 15, 0.5), 3)
    0.153
    """
    weights = relative_squares(spectrum)
    k = check_count(k, "k")
    epsilon = check_number(epsilon, "epsilon", above=0, hint="pass the relative error, such as 0.3")
    check_choice(tail, "tail", ("both", "upper", "lower"))
    if not weights.size:
        return 0.0
    mean = k * float(weights.sum())
    upper = 0.0 if tail == "lower" else _tails(weights, k, (1 + epsilon) * mean)[0]
    lower = 0.0 if tail == "upper" else _tails(weights, k, (1 - epsilon) * mean)[1]
    return upper + lower


def probes_needed(spectrum: Any, epsilon: float, delta: float) -> int:
    """Smallest k with P(|T − μ| ≥ εμ) ≤ δ for gaussian probes, by the exact law (§3).

    Parameters
    ----------
    spectrum : array (r,)
        Eigenvalues of the gap.
    epsilon, delta : float
        Relative error, above 0, and failure probability, between 0 and 1.

    Returns
    -------
    int
        k; 1 for a zero gap.

    Raises
    ------
    TypeError, ValueError
        As `failure_probability`; and if delta is not between 0 and 1, or kr is above 2⁵³.

    Notes
    -----
    Bracketed by doubling, then bisected. What comes back meets δ and k − 1 does not. That no
    smaller k does rests on the two-sided failure probability falling as k grows, which is not
    proved here; the tests compare with a linear search.

    Examples
    --------
    >>> one, seven = np.ones(1), np.ones(7)
    >>> probes_needed(one, 0.3, 0.05), probes_needed(seven, 0.3, 0.05)
    (85, 13)
    """
    at_most = _MOST_PROBES // max(relative_squares(spectrum).size, 1)
    return smallest_k(lambda k: failure_probability(spectrum, k, epsilon), delta, at_most=at_most)


def smallest_k(
    probability: Callable[[int], float], delta: float, *, at_most: int = _MOST_PROBES
) -> int:
    """Smallest k up to about ``at_most`` with probability(k) ≤ δ, for one that falls with k."""
    hint = "pass the failure probability, such as 0.05"
    delta = check_number(delta, "delta", above=0, below=1, hint=hint)
    high = 1
    while probability(high) > delta:
        if 2 * high > at_most:
            raise ValueError(
                f"delta is {delta}, which even {high} probes do not reach at this epsilon; a "
                f"request that fewer probes meet is accepted: raise epsilon or delta."
            )
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if probability(middle) > delta:
            low = middle
        else:
            high = middle
    return high


def tail_probability(
    spectrum: Any, k: int, value: float, *, tail: Literal["upper", "lower"] = "upper"
) -> float:
    """Exact P(T ≥ value) or P(T ≤ value) for k gaussian probes (§3, exact law).

    Parameters
    ----------
    spectrum : array (r,)
        Eigenvalues λ of the gap.
    k : int
        Probes.
    value : float
        Where to cut the law of T = ‖AZ‖_F²/k, in the units of μ = Σλ².
    tail : {"upper", "lower"}
        The side.

    Returns
    -------
    float
        Probability. A zero gap has all its mass at 0.

    Raises
    ------
    TypeError, ValueError
        As `failure_probability`; and if ``value`` is no finite number.
    ArithmeticError
        As `failure_probability`.

    Notes
    -----
    With K(s) = −(k/2)Σ ln(1 − 2sw_j) the cumulant generating function of Q = Σ w_j χ²_k,

        P(Q > x) = (1/2πi) ∫ exp(K(s) − sx)/s ds,

    upwards between the pole at 0 and the branch points 1/(2w_j); to the left of the pole the
    same integral is −P(Q ≤ x). On the real line it is Imhof's, which oscillates and loses the
    tails. Here the path crosses the real axis at the saddle point c of the whole integrand
    (Helstrom 1983; Rice 1980), on the side of 0 where x lies of the mean, and bends to where
    exp(−sx) decays,

        s(v) = c + d(i sinh v + b(cosh v − 1)),

    with d the width of the saddle and b/(2d) its steepest-descent curvature, b ≤ 1: at 45° or more
    to the real axis no factor of exp(K) grows along the path, whatever the spectrum.
    In v the integrand is a bell of width 1 with doubly exponential tails, and analytic in a
    strip around the real line, so that the trapezoidal rule converges geometrically. The step is
    halved until two sums agree to 1e-12, or to rounding; the error is about the square of their
    difference, and rounding, up to about 2e-17·(kr + |cx|) relative, is what remains. Against χ²
    for equal eigenvalues (kr up to 10⁴) and partial fractions at 400 digits for distinct ones (over
    12 decades) the relative error stays below 1e-11 for probabilities down to 1e-260; against χ²
    with up to 10¹² degrees of freedom below 2e-17·kr. Values below 1e-290 of the largest λ² count
    as 0.

    References
    ----------
    .. [1] J. P. Imhof, "Computing the distribution of quadratic forms in normal variables",
       Biometrika 48 (1961).
    .. [2] S. O. Rice, "Distribution of quadratic forms in normal random variables: evaluation
       by numerical integration", SIAM J. Sci. Stat. Comput. 1 (1980).
    .. [3] C. W. Helstrom, "Comment: Distribution of quadratic forms in normal random
       variables", SIAM J. Sci. Stat. Comput. 4 (1983).

    Examples
    --------
    Two equal eigenvalues and one probe: T is exponential with mean 2.

    >>> p = tail_probability(np.array([1.0, -1.0]), 1, 6.0)
    >>> bool(np.isclose(p, np.exp(-3), rtol=1e-12))
    True
    """
    weights = relative_squares(spectrum)
    k = check_count(k, "k")
    value = check_number(value, "value", hint="pass a value of T, such as twice its mean")
    check_choice(tail, "tail", ("upper", "lower"))
    if not weights.size:
        return float(value <= 0 if tail == "upper" else value >= 0)
    # Divided twice, so that the square of the largest eigenvalue can neither over- nor underflow.
    peak = float(np.abs(check_spectrum(spectrum)).max())
    upper, lower = _tails(weights, k, k * (value / peak) / peak)
    return upper if tail == "upper" else lower


def _tails(weights: Array, k: int, x: float) -> tuple[float, float]:
    """P(Q ≥ x) and P(Q ≤ x): one by the integral, the other as its complement."""
    if k * len(weights) > _MOST_PROBES:
        raise ValueError(
            f"k is {k} for {len(weights)} eigenvalues, whose product is above 2**53, where "
            f"rounding leaves no digit; a smaller k is accepted: ask a bound of faqd_math.bounds."
        )
    if x < _SMALLEST:
        return 1.0, 0.0
    mean = k * float(weights.sum())
    excess = min(x / mean - 1, _LARGEST)
    # By B6 with kr∞ = mean, the upper tail is at most exp(−mean(excess − ln(1 + excess))/2).
    if excess > 0 and 0.5 * mean * (excess - np.log1p(excess)) > _UNDERFLOW:
        return 0.0, 1.0
    integral = _saddle_integral(weights, k, x)
    return (integral, 1 - integral) if x >= mean else (1 - integral, integral)


def _saddle_integral(weights: Array, k: int, x: float) -> float:
    """P(Q ≥ x) for x at or above the mean of Q, P(Q ≤ x) below it."""
    c = _saddle_point(weights, k, x)
    slopes = 2 * c * weights / (1 - 2 * c * weights)
    log_peak = -0.5 * k * float(np.log1p(-2 * c * weights).sum()) - c * x
    # All in units of c, whose powers could under- or overflow.
    second = 0.5 * k * float((slopes**2).sum()) + 1
    third = k * float((slopes**3).sum()) - 2
    side = np.sign(c)
    width = side * second**-0.5
    # Steepest descent has curvature third/(6·second) at the saddle; the path's is bend/(2·width).
    # The lower end keeps the tails decaying where steepest descent bends back round the pole.
    bend = float(np.clip(third * width**3 / 3, 0.25, 1.0))

    def integrand(v: Array) -> tuple[Array, Array]:
        """Log-magnitude relative to the saddle, and the imaginary part with its derivative."""
        path = width * (1j * np.sinh(v) + bend * (np.cosh(v) - 1))
        speed = width * (1j * np.cosh(v) + bend * np.sinh(v))
        factors = np.log(1 - np.multiply.outer(path, slopes)).sum(axis=-1)
        exponent = -0.5 * k * factors - c * x * path - np.log(1 + path) + np.log(speed)
        return exponent.real, np.exp(exponent).imag

    step = _FIRST_STEP
    nodes = np.arange(0.0, _REACH, step)
    magnitude, values = integrand(nodes)
    reach = nodes[np.flatnonzero(magnitude > magnitude.max() + _NEGLIGIBLE)[-1]] + step
    total = step * (values.sum() - 0.5 * values[0])
    agreement = max(_AGREEMENT, _ROUNDING * (k * len(weights) + abs(c * x)))
    while step > _LAST_STEP:
        _, values = integrand(np.arange(0.5 * step, reach, step))
        refined = 0.5 * (total + step * values.sum())
        if abs(refined - total) <= agreement * abs(refined):
            return float(side * np.exp(log_peak) * refined / np.pi)
        step, total = 0.5 * step, refined
    raise ArithmeticError(
        f"the integral of the exact law does not converge for k = {k} and {len(weights)} "
        f"eigenvalues; a bound holds there too: ask one of faqd_math.bounds."
    )


def _saddle_point(weights: Array, k: int, x: float) -> float:
    """Where exp(K(s) − sx)/|s| is smallest: in (0, ½) for x at or above the mean, else s < 0."""

    def slope(s: float) -> float:
        return float(k * (weights / (1 - 2 * s * weights)).sum() - x - 1 / s)

    mean = k * float(weights.sum())
    if x >= mean:
        # K'(s) ≤ mean/(1 − 2s) gives the left end. The largest weight is 1, so that
        # K'(s) ≥ k/(1 − 2s), and 1/s ≤ 4 from ¼ on: the right end.
        left = min(0.25, 0.5 * mean**-0.5)
        return float(brentq(slope, 0.5 * left, 0.5 - 0.25 * min(k / (x + 4), 0.5)))
    # 0 ≤ K'(s) ≤ kr/(2|s|) brackets |s|, which may span decades: search its logarithm.
    ends = np.log(np.array([0.5, k * len(weights) + 2]) / x)
    return -float(np.exp(brentq(lambda y: slope(-np.exp(y)), *ends)))
