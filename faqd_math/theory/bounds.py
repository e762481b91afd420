"""Bounds on the probability that T = ‖AZ‖_F²/k misses μ = ‖A‖_F² by εμ: B1–B10 (§3).

One function for each statement, all with the signature of
`faqd_math.theory.law.failure_probability`:

spectrum : array (r,)
    Eigenvalues λ of the gap. Statements that need no knowledge of A only validate it.
k, epsilon : int and float
    Probes, and the relative error, between 1e-100 and 1e100; a statement with a limit of its
    own says so.
tail : {"both", "upper", "lower"}
    Bound P(|T − μ| ≥ εμ), P(T ≥ (1+ε)μ) or P(T ≤ (1−ε)μ). "both" adds the two sides; the lower
    one is empty, and 0, from ε = 1 on.

The result is the formula's value, not clipped: above 1 it says nothing. It is 0 for a zero gap,
where T = μ. Bad input raises TypeError or ValueError. The probes are gaussian except for B10. In
the formulas ρ is the effective rank and r∞ the stable rank. B11, of order 1, is in
`faqd_math.theory.order_one`.

Each is registered in `BOUNDS`; `faqd_math.theory.bound_registry` says how to add one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import brentq

from faqd_math._validation import Array
from faqd_math.spectrum import effective_rank, relative_squares, stable_rank
from faqd_math.theory.bound_registry import BOUNDS as BOUNDS
from faqd_math.theory.bound_registry import Bound as Bound
from faqd_math.theory.bound_registry import Sides as Sides
from faqd_math.theory.bound_registry import TailProbability as TailProbability
from faqd_math.theory.bound_registry import gaussian_bounds as gaussian_bounds
from faqd_math.theory.bound_registry import register as register
from faqd_math.theory.law import smallest_k


@register(
    "B1",
    "Chebyshev",
    source="Chebyshev 1867",
    assumptions="Independent gaussian probes; ε > 0; A ≠ 0.",
)
def chebyshev(spectrum: Array, k: int, epsilon: float) -> Sides:
    """B1, Chebyshev: 2/(kρε²), for both sides together and so for each.

    It is exact in its variance (P2). Where A is unknown, ρ ≥ 1 leaves 2/(kε²), this bound for a
    gap of rank 1.

    Examples
    --------
    >>> round(chebyshev(np.ones(1), 15, 0.5), 3)
    0.533
    """
    both = 2 / (k * effective_rank(spectrum) * epsilon**2)
    return Sides(both, both, both)


@register("B2", "Cantelli", source="Cantelli 1928")
def cantelli(spectrum: Array, k: int, epsilon: float) -> Sides:
    """B2, Cantelli: each side v/(v + ε²), with v = 2/(kρ) the relative variance.

    Better than B1 for one side; for both only where B1 says nothing (v > ε²).

    Examples
    --------
    >>> round(cantelli(np.ones(1), 15, 0.5, tail="upper"), 3)
    0.348
    """
    variance = 2 / (k * effective_rank(spectrum))
    side = variance / (variance + epsilon**2)
    return Sides(side, side)


@register(
    "B3",
    "Laurent & Massart",
    source="Laurent & Massart, Annals of Statistics 28 (2000), Lemma 1",
    assumptions="Independent gaussian probes; x, ε > 0; A ≠ 0. The sides are added.",
)
def laurent_massart(spectrum: Array, k: int, epsilon: float) -> Sides:
    """B3: upper e^{−x} with 2√(x/(kρ)) + 2x/(kr∞) = ε, lower exp(−kρε²/4).

    The upper side is stated for the deviation at a given x; here the quadratic in √x is solved for
    a given ε.

    Examples
    --------
    >>> round(laurent_massart(np.ones(7), 30, 0.3), 3)
    0.034
    """
    rho, r_inf = effective_rank(spectrum), stable_rank(spectrum)
    root = (k * rho) ** -0.5
    sqrt_x = epsilon / (root + np.sqrt(root**2 + 2 * epsilon / (k * r_inf)))
    return Sides(np.exp(-(sqrt_x**2)), np.exp(-k * rho * epsilon**2 / 4))


@register(
    "B4",
    "Cortinovis & Kressner",
    source="Cortinovis & Kressner, Found. Comput. Math. 22 (2022), Theorem 1",
)
def cortinovis_kressner(spectrum: Array, k: int, epsilon: float) -> Sides:
    """B4: each side exp(−kε²/(4/ρ + 4ε/r∞)). It follows from B3, and is weaker.

    Examples
    --------
    >>> round(cortinovis_kressner(np.ones(7), 30, 0.3), 3)
    0.053
    """
    rho, r_inf = effective_rank(spectrum), stable_rank(spectrum)
    side = np.exp(-k * epsilon**2 / (4 / rho + 4 * epsilon / r_inf))
    return Sides(side, side)


@register(
    "B5",
    "Tropp et al., any gap",
    source="Tropp, Yurtsever, Udell & Cevher, SIAM J. Sci. Comput. 41 (2019), §6.4",
    assumptions="Independent gaussian probes; ε > 0; any A ≠ 0. The sides are added.",
)
def tropp(_spectrum: Array, k: int, epsilon: float) -> Sides:
    """B5: upper [(1+ε)e^{−ε}]^{k/2}, lower [(1−ε)e^{ε}]^{k/2}, whatever the spectrum.

    Examples
    --------
    >>> round(tropp(np.ones(1), 200, 0.3), 3)
    0.027
    """
    return _chi_squared_tails(k, epsilon)


@register("B6", "stable rank", source="derived")
def stable_rank_tail(spectrum: Array, k: int, epsilon: float) -> Sides:
    """B6: B5 with kr∞ in the place of k: r∞ probes of rank 1 in each probe.

    With w_j = λ_j²/max λ² ≤ 1 and f(w) = −ln(1 − 2sw) − 2sw, which is convex with f(0) = 0,
    Σf(w_j) ≤ Σw_j f(1) = r∞ f(1): the centred T has at most the moment generating function of
    the mean of kr∞ variables χ²_1.

    Examples
    --------
    >>> round(stable_rank_tail(np.ones(7), 30, 0.3), 3)
    0.022
    """
    return _chi_squared_tails(k * stable_rank(spectrum), epsilon)


def stable_rank_probes(spectrum: Any, epsilon: float, delta: float) -> int:
    """B6 as a sample size: k ≥ 2 ln(2/δ)/(r∞(ε − ln(1+ε))); 1 for a zero gap.

    The closed form counts the larger, upper side twice, so `probes_needed` of
    `stable_rank_tail`, which adds the two sides, asks for fewer.

    Examples
    --------
    >>> stable_rank_probes(np.ones(1), 0.3, 0.05), stable_rank_probes(np.ones(7), 0.3, 0.05)
    (197, 29)
    """
    return smallest_k(lambda k: 2 * stable_rank_tail(spectrum, k, epsilon, tail="upper"), delta)


def _chi_squared_tails(degrees: float, epsilon: float) -> Sides:
    """Chernoff's bounds for the mean of that many squares of standard normals."""
    upper = np.exp(-0.5 * degrees * (epsilon - np.log1p(epsilon)))
    lower = np.exp(0.5 * degrees * (epsilon + np.log1p(-epsilon))) if epsilon < 1 else 0.0
    return Sides(upper, lower)


@register(
    "B7",
    "Roosta-Khorasani & Ascher",
    source="Roosta-Khorasani & Ascher, Found. Comput. Math. 15 (2015)",
    assumptions="Independent gaussian probes; 0 < ε ≤ 1; A ≠ 0.",
    epsilon_at_most=1,
)
def roosta_khorasani_ascher(spectrum: Array, k: int, epsilon: float) -> Sides:
    """B7: each side exp(−kr∞ε²/8), for ε ≤ 1. From B6, by ε − ln(1+ε) ≥ ε²/4 on (0, 1].

    Examples
    --------
    >>> round(roosta_khorasani_ascher(np.ones(7), 47, 0.3), 3)
    0.049
    """
    side = np.exp(-k * stable_rank(spectrum) * epsilon**2 / 8)
    return Sides(side, side)


@register(
    "B8",
    "Avron & Toledo, any gap",
    source="Avron & Toledo, J. ACM 58 (2011)",
    assumptions="Independent gaussian probes; 0 < ε ≤ 1; A ≠ 0. Stated by its authors for small ε.",
    epsilon_at_most=1,
)
def avron_toledo(_spectrum: Array, k: int, epsilon: float) -> Sides:
    """B8: each side exp(−kε²/20), whatever the spectrum: k ≥ 20ε⁻²ln(2/δ) probes suffice.

    B5 implies it for ε ≤ 1.

    Examples
    --------
    >>> round(avron_toledo(np.ones(1), 7400, 0.1), 3)
    0.049
    """
    side = np.exp(-k * epsilon**2 / 20)
    return Sides(side, side)


@register(
    "B9",
    "Chernoff",
    source="Chernoff 1952",
    assumptions="Independent gaussian probes; ε > 0; A ≠ 0. Below with 1 − ε and s < 0; added.",
)
def chernoff(spectrum: Array, k: int, epsilon: float) -> Sides:
    """B9, Chernoff: inf_s exp(−s(1±ε)μ − (k/2)Σ ln(1 − 2sλ²/k)), s > 0 above and < 0 below.

    The best bound by the moment generating function: B3–B8 all follow from it.

    Examples
    --------
    >>> round(chernoff(np.ones(7), 30, 0.3), 3)
    0.022
    """
    weights = relative_squares(spectrum)
    mean = k * weights.sum()

    def side(x: float, left: float, right: float) -> float:
        # With s in units of k/max λ², the infimum lies where the derivative of the exponent is 0.
        s = brentq(lambda t: k * (weights / (1 - 2 * t * weights)).sum() - x, left, right)
        return float(np.exp(-s * x - 0.5 * k * np.log1p(-2 * s * weights).sum()))

    # The largest weight is 1, so that the derivative is at least k/(1 − 2s) − x; below 0 it is at
    # most kr/(2|s|) − x. The ends of the brackets lie a factor 2 beyond where these vanish.
    x = (1 + epsilon) * mean
    # Where B6 underflows so does this; the bracket could close on the pole.
    vanishes = _chi_squared_tails(k * stable_rank(spectrum), epsilon).upper == 0
    upper = 0.0 if vanishes else side(x, 0.0, 0.5 - 0.25 * k / x)
    x = (1 - epsilon) * mean
    return Sides(upper, side(x, -k * len(weights) / x, 0.0) if epsilon < 1 else 0.0)


@register(
    "B10",
    "Rademacher probes, any gap",
    source="Roosta-Khorasani & Ascher, Found. Comput. Math. 15 (2015)",
    assumptions="Independent Rademacher probes; 0 < ε ≤ ¾; A ≠ 0. Checked at ε = ¾.",
    probes="rademacher",
    epsilon_at_most=0.75,
)
def rademacher(_spectrum: Array, k: int, epsilon: float) -> Sides:
    """B10, Rademacher probes: each side exp(−kε²/6), for ε ≤ ¾. The upper side obeys B6 too.

    The limit on ε is needed: for a gap of rank 1 with a flat eigenvector T tends to χ²_k/k as N
    grows, whose upper tail decays like exp(−k(ε − ln(1+ε))/2): more slowly than the bound from
    ε = 0.79 on.

    Examples
    --------
    >>> round(rademacher(np.ones(1), 246, 0.3), 3)
    0.05
    """
    side = np.exp(-k * epsilon**2 / 6)
    return Sides(side, side)


def probes_needed(bound: TailProbability, spectrum: Any, epsilon: float, delta: float) -> int:
    """Smallest k for which ``bound`` promises a relative error ε but for probability δ.

    Every bound of this module falls as k grows. Raises ValueError where k is above 2⁵³.

    Examples
    --------
    The exact law needs 85:

    >>> [probes_needed(bound, np.ones(1), 0.3, 0.05)
    ...  for bound in (chebyshev, cortinovis_kressner, stable_rank_tail, roosta_khorasani_ascher)]
    [445, 214, 169, 328]
    """
    return smallest_k(lambda k: bound(spectrum, k, epsilon), delta)
