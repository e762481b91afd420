"""How many probes FFA needs on a gap, what it risks with k of them, and what both cost (§3, §4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq

from faqd_math._validation import Array, check_count, check_number
from faqd_math.spectrum import (
    effective_rank,
    gap_spectrum,
    is_rounding,
    relative_squares,
    stable_rank,
)
from faqd_math.theory import bounds, law, moments
from faqd_math.theory.bounds import BOUNDS, TailProbability, gaussian_bounds

_RANK_ONE = np.ones(1)
_LOG_ERRORS = (-40.0, 40.0)  # e^-40 is lost beside 1; e^40 is beyond any δ of the exact law


class MapSizes(NamedTuple):
    """What the cost of a sample depends on, as `faqd_math.cost` takes it: pixels and channels."""

    n: int
    student_channels: int
    teacher_channels: int


@dataclass(frozen=True)
class ProbePlan:
    """What FFA needs and risks on one gap, on the worst of several, or on any.

    Attributes
    ----------
    epsilon, delta : float
        Relative error of T asked for, and the probability with which it may be exceeded.
    k : int
        Probes that ``failure_probability``, ``error`` and ``gradient_noise`` are about.
    samples : int
        Gaps planned for; 0 if no gap is known. Then all figures are those of a gap of rank 1, for
        which each bound asks for the most probes: ρ and r∞ are at least 1.
    effective_rank, stable_rank : float
        ρ and r∞; of several samples the smallest.
    exact_probes : int
        Smallest k by the exact law for gaussian probes; of several samples the largest.
    sufficient_probes : int
        Gaussian probes to take: those of the exact law; on any gap those of the best bound.
    bound_probes : mapping of id to int or None
        Smallest k by each registered bound, for the probes of its statement. None where it does
        not cover ``epsilon``, or asks for more than 2⁵³.
    failure_probability : float
        P(|T − μ| ≥ εμ) with k gaussian probes; of several samples the largest.
    error : float
        Relative error that k gaussian probes exceed with probability δ; likewise.
    gradient_noise : float or None
        √(E‖Ĝ − G‖²/‖G‖²) (P8); likewise. None without maps, or where the gradient is 0.
    shape : MapSizes or None
        None where it is unknown.
    """

    epsilon: float
    delta: float
    k: int
    samples: int
    effective_rank: float
    stable_rank: float
    exact_probes: int
    sufficient_probes: int
    bound_probes: Mapping[str, int | None]
    failure_probability: float
    error: float
    gradient_noise: float | None = None
    shape: MapSizes | None = None


def plan(
    spectrum: Any = None,
    *,
    epsilon: float = 0.1,
    delta: float = 0.05,
    k: int = 15,
    shape: MapSizes | None = None,
) -> ProbePlan:
    """Plan FFA for the gap with these eigenvalues, or for any gap.

    Parameters
    ----------
    spectrum : array (r,), optional
        Eigenvalues of the gap, from `faqd_math.gap_spectrum`; without it, any gap.
    epsilon, delta : float
        Relative error, above 0, and failure probability, between 0 and 1.
    k : int
        Probes to judge.
    shape : MapSizes, optional
        For the cost.

    Raises
    ------
    TypeError, ValueError
        If the spectrum is not a finite floating vector or holds no eigenvalue other than 0, if
        epsilon, delta or k is out of range, or the exact law needs more than about 2⁵³ probes.

    Examples
    --------
    >>> flat = plan(np.ones(7), epsilon=0.3)
    >>> flat.exact_probes, flat.bound_probes["B6"], flat.bound_probes["B1"]
    (13, 25, 64)
    >>> plan(epsilon=0.3).sufficient_probes
    169
    """
    eigenvalues = _RANK_ONE if spectrum is None else _nonzero(spectrum)
    k = check_count(k, "k")
    hint = "pass the relative error, such as 0.1"
    epsilon = check_number(epsilon, "epsilon", above=1e-100, below=1e100, hint=hint)
    exact = law.probes_needed(eigenvalues, epsilon, delta)
    asked = {name: _asked(bound, eigenvalues, epsilon, delta) for name, bound in BOUNDS.items()}
    return ProbePlan(
        epsilon=epsilon,
        delta=delta,
        k=k,
        samples=0 if spectrum is None else 1,
        effective_rank=effective_rank(eigenvalues),
        stable_rank=stable_rank(eigenvalues),
        exact_probes=exact,
        sufficient_probes=_best_bound(asked) if spectrum is None else exact,
        bound_probes=asked,
        failure_probability=law.failure_probability(eigenvalues, k, epsilon),
        error=typical_error(eigenvalues, k, delta),
        shape=shape,
    )


def plan_features(
    student: Any, teacher: Any, *, epsilon: float = 0.1, delta: float = 0.05, k: int = 15
) -> ProbePlan:
    """Plan FFA for one sample's feature maps (C, H, W): as `plan`, with gradient noise and shape.

    Bad input is refused as there and by `faqd_math.fa_loss`; so are maps whose affinities differ by
    no more than rounding (ValueError).

    Examples
    --------
    >>> student, teacher = np.random.default_rng(0).standard_normal((2, 8, 16, 16))
    >>> round(plan_features(student, teacher).gradient_noise, 1)
    2.1
    """
    spectrum, (_, height, width) = gap_spectrum(student, teacher), np.shape(student)
    of_gap = plan(spectrum, epsilon=epsilon, delta=delta, k=k)
    if is_rounding(spectrum, height * width, len(student) + len(teacher)):
        raise ValueError(
            "student and teacher agree up to rounding; maps with a gap are accepted: FFA of no "
            "gap is 0 with any probes, so plan for other maps."
        )
    squared_norm = moments.gradient_squared_norm(student, teacher)
    noise = moments.gradient_noise(student, teacher, k)
    return replace(
        of_gap,
        gradient_noise=float(np.sqrt(noise / squared_norm)) if squared_norm else None,
        shape=MapSizes(height * width, len(student), len(teacher)),
    )


def worst(plans: Sequence[ProbePlan]) -> ProbePlan:
    """Join the plans of one pair's samples into that of the worst, figure by figure.

    The smallest ranks, the most probes, the largest error, noise and failure probability, which may
    come from different samples.

    Examples
    --------
    >>> both = worst([plan(np.ones(7), epsilon=0.3), plan(np.ones(1), epsilon=0.3)])
    >>> both.exact_probes, both.effective_rank, both.samples
    (85, 1.0, 2)
    """
    noises = [p.gradient_noise for p in plans if p.gradient_noise is not None]
    smallest = ("effective_rank", "stable_rank")
    largest = ("exact_probes", "sufficient_probes", "failure_probability", "error")
    return replace(
        plans[0],
        samples=sum(p.samples for p in plans),
        bound_probes={
            name: _most([p.bound_probes[name] for p in plans]) for name in plans[0].bound_probes
        },
        gradient_noise=max(noises, default=None),
        **{name: min(getattr(p, name) for p in plans) for name in smallest},
        **{name: max(getattr(p, name) for p in plans) for name in largest},
    )


def typical_error(
    spectrum: Any, k: int, delta: float, *, probability: TailProbability = law.failure_probability
) -> float:
    """Relative error ε that k probes exceed with probability δ: the 1 − δ quantile of |T − μ|/μ.

    By the exact law for gaussian probes, or by a bound of `faqd_math.theory.bounds` passed as
    ``probability``, which is inverted and must cover every ε. Bad input is refused as by `plan`.

    Examples
    --------
    >>> [round(typical_error(np.ones(1), k, 0.05), 2) for k in (15, 85)]
    [0.69, 0.3]
    """
    eigenvalues = _nonzero(spectrum)
    k = check_count(k, "k")
    hint = "pass the failure probability, such as 0.05"
    delta = check_number(delta, "delta", above=0, below=1, hint=hint)
    excess = brentq(lambda x: probability(eigenvalues, k, np.exp(x)) - delta, *_LOG_ERRORS)
    return float(np.exp(excess))


def _nonzero(spectrum: Any) -> Array:
    if not relative_squares(spectrum).size:
        raise ValueError(
            "spectrum holds no eigenvalue other than 0; that of a gap is accepted: FFA of no gap "
            "is 0 with any probes, so plan for another."
        )
    return spectrum


def _asked(bound: TailProbability, eigenvalues: Array, epsilon: float, delta: float) -> int | None:
    """Smallest k by a bound; None where it refuses: all else that it could refuse is checked."""
    try:
        return bounds.probes_needed(bound, eigenvalues, epsilon, delta)
    except ValueError:
        return None


def _best_bound(asked: Mapping[str, int | None]) -> int:
    """Fewest gaussian probes that a bound asks for."""
    numbers = [k for name, k in asked.items() if name in gaussian_bounds() and k is not None]
    if not numbers:
        raise ValueError(
            "epsilon and delta are so small that every bound asks for more than 2**53 probes; a "
            "request that fewer meet is accepted: raise epsilon or delta."
        )
    return min(numbers)


def _most(asked: Sequence[int | None]) -> int | None:
    """Return the largest number; None if any is missing."""
    numbers = [k for k in asked if k is not None]
    return max(numbers) if len(numbers) == len(asked) else None
