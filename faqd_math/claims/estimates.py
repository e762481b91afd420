"""Replications of the public FFA and its gradient, in chunks of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from faqd_math._validation import Array
from faqd_math.claims.evidence import Sampling
from faqd_math.claims.subjects import Case
from faqd_math.losses import Order, ffa_loss
from faqd_math.probes import ProbeLaw, sample_probes

# Entries of probes and features held at once: 64 MiB of float64.
_CHUNK_ENTRIES = 2**23


def ffa_replications(
    case: Case, sampling: Sampling, *, order: Order = 2, law: ProbeLaw = "gaussian"
) -> Array:
    """Values of FFA, each with fresh probes: T/μ at order 2, N²L̂₁ at order 1.

    Independent of each other; the claims on one case, order and law share them.
    """

    def draw(own: Sampling) -> Array:
        scale = case.n**2 / (case.mu if order == 2 else 1.0)
        return scale * np.concatenate(
            [
                ffa_loss(*copies(case, size), probes, order=order, reduction="none")
                for size, probes in fresh_probes(case, own, law)
            ]
        )

    return sampling.shared(f"FFA of order {order}, {law} probes", case, draw)


def fresh_probes(
    case: Case, sampling: Sampling, law: ProbeLaw = "gaussian"
) -> Iterator[tuple[int, Array]]:
    """Yield chunks of replications: their number and their probes (number, N, k)."""
    for size in chunks(case, sampling):
        yield size, sample_probes(case.n, sampling.k, law=law, rng=sampling.rng, batch=size)


def chunks(case: Case, sampling: Sampling) -> Iterator[int]:
    """Yield numbers of replications that fit in memory together."""
    channels = len(case.student) + len(case.teacher)
    chunk = max(1, _CHUNK_ENTRIES // (case.n * (channels + 2 * sampling.k)))
    for start in range(0, sampling.replications, chunk):
        yield min(chunk, sampling.replications - start)


def copies(case: Case, size: int) -> tuple[Array, Array]:
    """One sample's maps as a batch of equal ones."""
    return (
        np.broadcast_to(case.student, (size, *case.student.shape)),
        np.broadcast_to(case.teacher, (size, *case.teacher.shape)),
    )
