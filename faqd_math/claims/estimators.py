"""Claims on estimates of FA beside FFA, checked by replication."""

from __future__ import annotations

import numpy as np

from faqd_math._validation import Array
from faqd_math.claims.chance import ROUNDING, estimate_is
from faqd_math.claims.estimates import chunks, copies
from faqd_math.claims.evidence import Claim, Evidence, Sampling
from faqd_math.claims.subjects import Case
from faqd_math.confidence import mean_estimate, variance_estimate
from faqd_math.losses import ffa_loss
from faqd_math.theory.estimators import (
    deflated_probes,
    sample_pixels,
    sampled_fa_loss,
    sampled_variance,
)


def _sampled_mean(case: Case, sampling: Sampling) -> Evidence:
    samples = _sampled(case, sampling)
    return estimate_is(mean_estimate(samples), 1.0, sampling, ROUNDING)


def _sampled_variance(case: Case, sampling: Sampling) -> Evidence:
    expected = sampled_variance(case.student, case.teacher, _pixels(case)) / case.mu**2
    estimate = variance_estimate(_sampled(case, sampling))
    return estimate_is(estimate, expected, sampling, ROUNDING)


def _sampled(case: Case, sampling: Sampling) -> Array:
    """Replications of the estimate from sampled pixels, relative to FA."""

    def draw(own: Sampling) -> Array:
        values = []
        for size in chunks(case, own):
            pixels = sample_pixels(case.n, _pixels(case), rng=own.rng, batch=size)
            values.append(sampled_fa_loss(*copies(case, size), pixels, reduction="none"))
        return case.n**2 / case.mu * np.concatenate(values)

    return sampling.shared("sampled pixels", case, draw)


def _pixels(case: Case) -> int:
    """Half of the pixels, but 64 at most: the draws are to stay cheap."""
    return min(case.n // 2, 64)


def _deflated_mean(case: Case, sampling: Sampling) -> Evidence:
    """Mean of FFA with probes of which a third hold the gap's range, relative to FA."""

    def estimates(size: int) -> Array:
        maps = copies(case, size)
        probes = deflated_probes(*maps, 6, sketch=2, rng=sampling.rng)
        return ffa_loss(*maps, probes, reduction="none")

    samples = np.concatenate([estimates(n) for n in chunks(case, sampling)])
    return estimate_is(mean_estimate(case.n**2 / case.mu * samples), 1.0, sampling, ROUNDING)


ESTIMATORS = (
    Claim("E1", "replication", _sampled_mean),
    Claim("E2", "replication", _sampled_variance),
    Claim("E3", "replication", _deflated_mean),
)
