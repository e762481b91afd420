"""Claims on cost: operations and bytes counted as the code performs them (§4)."""

from __future__ import annotations

from bisect import bisect_left
from functools import partial

import numpy as np

from faqd_math import cost, losses
from faqd_math._validation import Array
from faqd_math.claims.counting import Counter
from faqd_math.claims.evidence import Claim, Evidence, Sampling
from faqd_math.claims.subjects import Case
from faqd_math.cost import LossPath
from faqd_math.features import unit_pixel_pair
from faqd_math.spectrum import squared_norm


def counted(path: LossPath | str, x: Array, y: Array, k: int = 1) -> Counter:
    """Run a path, or "auto", on unit pixels (1, C_s, N) and (1, C_t, N), and count."""
    counter = Counter()
    x, y = counter.watch(x), counter.watch(y)
    match path:
        case "direct":
            losses.direct_total(x, y)
        case "gram":
            losses.gram_total(x, y)
        case "ffa":
            squared_norm(losses.apply_gap(x, y, np.ones((x.shape[-1], k))))
        case "auto":
            losses.automatic_total(x, y)
    return counter


def _unit_pixels(case: Case) -> tuple[Array, Array]:
    x, y, _ = unit_pixel_pair(case.student[np.newaxis], case.teacher[np.newaxis])
    return x, y


def _sizes(x: Array, y: Array) -> tuple[int, int, int]:
    return x.shape[2], x.shape[1], y.shape[1]


def _multiply_adds(case: Case, sampling: Sampling, *, path: LossPath) -> Evidence:
    x, y = _unit_pixels(case)
    stated = cost.multiply_adds(path, *_sizes(x, y), sampling.k)
    return Evidence(float(counted(path, x, y, sampling.k).multiply_adds), float(stated), "=", 0.0)


def _probes_dearer_than_gram(case: Case, _sampling: Sampling) -> Evidence:
    """Smallest number of probes whose counted cost exceeds that of exact Gram."""
    x, y = _unit_pixels(case)
    _, cs, ct = _sizes(x, y)
    gram = counted("gram", x, y).multiply_adds
    found = bisect_left(
        range(cs + ct + 2), True, key=lambda k: counted("ffa", x, y, k).multiply_adds > gram
    )
    stated = (cs * cs + ct * ct + cs * ct) // (2 * (cs + ct)) + 1
    return Evidence(float(found), float(stated), "=", 0.0)


def _pixels_dearer_than_gram(case: Case, _sampling: Sampling) -> Evidence:
    """Smallest number of pixels at which auto leaves the direct path, by its counted cost.

    Only shapes matter; a teacher of dead pixels keeps Gram from cancelling at any of them.
    """
    x, y = _unit_pixels(case)
    _, cs, ct = _sizes(x, y)

    def leaves_direct(n: int) -> bool:
        maps = np.resize(x, (1, cs, n)), np.zeros((1, ct, n))
        return counted("auto", *maps).multiply_adds != counted("direct", *maps).multiply_adds

    found = 1 + bisect_left(range(1, 2 * (cs + ct)), True, key=leaves_direct)
    stated = (cs * cs + ct * ct + cs * ct) // (cs + ct) + 1
    return Evidence(float(found), float(stated), "=", 0.0)


def _peak_bytes(case: Case, sampling: Sampling) -> Evidence:
    """Largest ratio of counted to stated bytes among the paths."""
    x, y = _unit_pixels(case)
    paths: tuple[LossPath, ...] = ("direct", "ffa", "gram")
    ratios = [
        counted(path, x, y, sampling.k).peak_bytes
        / cost.extra_bytes(path, *_sizes(x, y), sampling.k)
        for path in paths
    ]
    return Evidence(max(ratios), 3.0, "<=", 0.0)


COSTS = (
    Claim("C1", "operation count", partial(_multiply_adds, path="direct")),
    Claim("C2", "operation count", partial(_multiply_adds, path="ffa")),
    Claim("C3", "operation count", partial(_multiply_adds, path="gram")),
    Claim("C4", "operation count", _probes_dearer_than_gram),
    Claim("C5", "operation count", _pixels_dearer_than_gram),
    Claim("C6", "operation count", _peak_bytes),
)
