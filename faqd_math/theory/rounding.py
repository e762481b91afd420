"""A-priori bounds on the relative rounding error of FA and FFA, by path (§5: F1–F5).

Model. An operation errs by a factor 1 + δ with |δ| ≤ u, the unit roundoff; there is neither
underflow nor overflow. r roundings in a row err by at most γ(r) = ru/(1 − ru), relative to the
sum of magnitudes (Higham 2002, §3.1). A sum of n terms counts as r(n) = min(n, 4√n) roundings:
n is the worst case, 4√n holds with probability 1 − 2e⁻⁸ a sum where roundings are independent of
mean zero (Higham & Mary 2019, with λ = 4). All else is worst case: errors of different entries are
added up as if they conspired, by the inequality of Cauchy and Schwarz. They seldom do, so that
typical errors are smaller by about N.

Steps. Unit pixels are off by η = (r(C)/2 + 4)u each: divisions by the peak and by the norm, and
half of the norm's sum of squares. Features off by a factor 1 + v turn them by at most v. Since
unit pixels have ‖X‖_F² ≤ N, their errors change A by at most (2η_s + 2η_t + 4v)N in the Frobenius
norm, and μ = ‖A‖_F² by a factor (1 + e)² if that is e‖A‖_F.

N counts the pixels, and bounds hold for one sample, at the student's size: a teacher is resized
before. Bounds are infinite where ru reaches 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from faqd_math.cost import cheapest_exact
from faqd_math.losses import CANCELLATION

UNIT_ROUNDOFF = 2.0**-53


@dataclass(frozen=True)
class Setting:
    """What is computed, and in which arithmetic.

    Attributes
    ----------
    n : int
        Pixels N.
    channels : (int, int)
        Channels C_s and C_t.
    unit_roundoff, input_roundoff : float
        u of the computation, and v with which the features were rounded before: 2⁻⁵³ and 2⁻²⁴
        where float32 features, rounded from exact ones, are computed with in float64.
    """

    n: int
    channels: tuple[int, int]
    unit_roundoff: float = UNIT_ROUNDOFF
    input_roundoff: float = 0.0

    def gap_error(self) -> float:
        """Change of A over N by the errors of unit pixels, 2η_s + 2η_t + 4v and its square."""
        of_units = self.gamma(sum(_roundings(c) + 8 for c in self.channels))
        return of_units + 4 * self.input_roundoff * (1 + self.input_roundoff)

    def gamma(self, roundings: float) -> float:
        """γ(r), the relative error of r roundings in a row."""
        share = roundings * self.unit_roundoff
        return share / (1 - share) if share < 1 else np.inf

    def squared(self, e: float, terms: int) -> float:
        """Relative error of a sum of squares of values off by e; scaling it takes two roundings."""
        sums = self.gamma(_roundings(terms) + 3)
        return float(2 * e + e**2 + sums * (1 + e) ** 2)


def direct_error(at: Setting, mu: float) -> float:
    """F1: bound on the direct path's relative error, of order u·C·N/√μ.

    Entries of S are off by 2η + r(C)u, since Σ_c |x_ic x_jc| ≤ 1, and those of A by the sum of
    both plus u|A_ij|; the N² squares are then added.

    Parameters
    ----------
    at : Setting
    mu : float
        μ = ‖A‖_F², above 0.

    Returns
    -------
    float
        Bound on abs(computed/exact − 1).

    Examples
    --------
    Eight channels, an 8×8 map, affinities that differ by about 1e-4:

    >>> f"{direct_error(Setting(64, (8, 8)), mu=64**2 * 1e-8):.1e}"
    '1.1e-10'
    """
    products = at.gamma(sum(map(_roundings, at.channels)))
    e = (at.gap_error() + products) * at.n / np.sqrt(mu) + at.unit_roundoff
    return at.squared(e, at.n**2)


def gram_error(at: Setting, mu: float, size: float) -> float:
    """F2: bound on the Gram path's relative error, of order u·√N·N·√s/μ, s = ‖S_s‖² + ‖S_t‖².

    The three products are off by γ(r(N))·N in the Frobenius norm, and their squares by twice that
    times ‖S_s‖, ‖S_t‖ and 2‖XYᵀ‖, which add up to 2√(2s) at most; adding and subtracting the
    squares errs by γ(r(C²) + 3)·2s. ``size`` is s.

    Examples
    --------
    As in `direct_error`, with four digits fewer:

    >>> f"{gram_error(Setting(64, (8, 8)), mu=64**2 * 1e-8, size=2 * 64**2 / 8):.1e}"
    '1.2e-06'
    """
    product = at.gamma(_roundings(at.n)) * at.n
    sums = at.gamma(_roundings(max(at.channels) ** 2) + 3) * 2 * size
    cancelled = (product * 4 * np.sqrt(2 * size) + 4 * product**2 + sums) / mu
    return at.squared(at.gap_error() * at.n / np.sqrt(mu), 1) + float(cancelled)


def spectrum_error(at: Setting, mu: float) -> float:
    """F3: bound on the spectrum path's relative error, of order u·√(NC)·N/√μ.

    Householder's QR of the N×c matrix [X; Y]ᵀ, c = C_s + C_t, errs backwards by γ(r(Nc)) in each
    column (Higham 2002, Theorem 19.4, its constant taken as 1; Connolly & Higham 2023 for the
    root), and so changes A by 4γ(r(Nc))·N at most. Products of R add 2γ(r(c))·N.

    Examples
    --------
    >>> f"{spectrum_error(Setting(64, (8, 8)), mu=64**2 * 1e-8):.1e}"
    '1.3e-09'
    """
    rows = min(at.n, sum(at.channels))
    products = 4 * at.gamma(_roundings(at.n * sum(at.channels))) + 2 * at.gamma(_roundings(rows))
    e = (at.gap_error() + products) * at.n / np.sqrt(mu) + at.unit_roundoff
    return at.squared(e, rows**2)


def ffa_error(at: Setting, amplification: float) -> float:
    """F4: bound on FFA's relative error with given probes, of order u·√N·N·‖Z‖/‖AZ‖.

    XZ is off by γ(r(N))·√N·‖Z‖_F and Xᵀ(XZ) by √N times that, plus γ(r(C))·N·‖Z‖_F, likewise Y;
    the probes are exact. ``amplification`` is ‖Z‖_F/‖AZ‖_F, about √(N/μ).

    Examples
    --------
    >>> f"{ffa_error(Setting(64, (8, 8)), amplification=8 / (64 * 1e-4)):.1e}"
    '2.0e-09'
    """
    products = 2 * at.gamma(_roundings(at.n)) + at.gamma(sum(map(_roundings, at.channels)))
    e = (at.gap_error() + products) * at.n * amplification + at.unit_roundoff
    return at.squared(e, at.n**2)


def public_error(at: Setting, mu: float, size: float) -> float:
    """F5: bound on the relative error of `faqd_math.fa_loss`, whichever path "auto" takes.

    It takes Gram where direct is dearer, and spectrum in its place where it finds
    μ < CANCELLATION·s. Near that, within what Gram may err, it may take either.

    Examples
    --------
    >>> f"{public_error(Setting(64, (8, 8)), mu=64**2 * 1e-8, size=2 * 64**2 / 8):.1e}"
    '1.3e-09'
    """
    if cheapest_exact(at.n, *at.channels) == "direct":
        return direct_error(at, mu)
    gram, spectrum = gram_error(at, mu, size), spectrum_error(at, mu)
    share = mu / (CANCELLATION * size)
    if share * (1 + gram) < 1:
        return spectrum
    return gram if share * (1 - gram) > 1 else max(gram, spectrum)


def _roundings(terms: int) -> float:
    """r(n): roundings that a sum of n terms counts as."""
    return float(min(terms, 4 * np.sqrt(terms)))
