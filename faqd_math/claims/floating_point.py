"""Claims on rounding: measured errors of every path against 40 digits, and their bounds (§5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from faqd_math._validation import Array
from faqd_math.claims.evidence import Claim, Evidence, Sampling
from faqd_math.claims.subjects import Case
from faqd_math.features import resize_bilinear, unit_pixel_pair
from faqd_math.losses import fa_loss, ffa_loss
from faqd_math.probes import sample_probes
from faqd_math.spectrum import squared_norm
from faqd_math.theory import extended, rounding

# Relative error of the public function at every gap from 1 to 1e-8.
PUBLIC_ERROR = 1e-5

# Gaps of pairs made from the student, beside the case's own pair.
_FEW_GAPS = (1e-4, 1e-8)
_ALL_GAPS = tuple(10.0**-decade for decade in range(9))
# Least share μ/s of a pair made from the student.
_SMALLEST = 1e-18
# Roundings in the extended value's longest chain of operations, amply.
_EXTENDED_ROUNDINGS = 256

ExactPath = Literal["direct", "gram", "spectrum"]


@dataclass(frozen=True)
class _Pair:
    """Maps of one size, and what the bounds depend on."""

    student: Array
    teacher: Array

    @property
    def n(self) -> int:
        return int(self.student[0].size)

    def setting(self, input_roundoff: float = 0.0) -> rounding.Setting:
        channels = len(self.student), len(self.teacher)
        return rounding.Setting(self.n, channels, input_roundoff=input_roundoff)

    @property
    def size(self) -> float:
        """‖S_s‖_F² + ‖S_t‖_F²."""
        x, y, _ = unit_pixel_pair(self.student, self.teacher)
        return float((squared_norm(x @ x.mT) + squared_norm(y @ y.mT))[0])

    def roundings(self) -> Iterator[tuple[Array, Array, float]]:
        """Yield the maps as they are and rounded to float32, and the roundoff of that."""
        yield self.student, self.teacher, 0.0
        yield self.student.astype(np.float32), self.teacher.astype(np.float32), 2.0**-24


def _exact_path(case: Case, sampling: Sampling, *, method: ExactPath) -> Evidence:
    """Error of one exact path, from float64 maps and from the same maps rounded to float32."""
    found = []
    for pair in _pairs(case, sampling, _FEW_GAPS):
        exact = extended.fa_loss(pair.student, pair.teacher)
        mu = float(exact) * pair.n**2
        slack = _extended_error(pair.size / mu)
        for student, teacher, v in pair.roundings():
            error = extended.relative_error(fa_loss(student, teacher, method=method), exact)
            bounds = {
                "direct": rounding.direct_error(pair.setting(v), mu),
                "gram": rounding.gram_error(pair.setting(v), mu, pair.size),
                "spectrum": rounding.spectrum_error(pair.setting(v), mu),
            }
            found.append(Evidence(error, bounds[method], "<=", slack))
    return _tightest(found)


def _fast_path(case: Case, sampling: Sampling) -> Evidence:
    """Error of FFA, likewise, with fresh gaussian probes."""
    found = []
    for pair in _pairs(case, sampling, _FEW_GAPS):
        probes = sample_probes(pair.n, sampling.k, rng=sampling.rng)
        exact = extended.ffa_loss(pair.student, pair.teacher, probes)
        images = np.sqrt(float(exact) * sampling.k) * pair.n
        amplification = float(np.linalg.norm(probes)) / images
        slack = _extended_error(pair.n * amplification)
        for student, teacher, v in pair.roundings():
            error = extended.relative_error(ffa_loss(student, teacher, probes), exact)
            bound = rounding.ffa_error(pair.setting(v), amplification)
            found.append(Evidence(error, bound, "<=", slack))
    return _tightest(found)


def _public(case: Case, sampling: Sampling) -> Evidence:
    """Error of the public function at every decade; a negative value has an error above 1."""
    found = []
    for pair in _pairs(case, sampling, _ALL_GAPS):
        exact = extended.fa_loss(pair.student, pair.teacher)
        error = extended.relative_error(fa_loss(pair.student, pair.teacher), exact)
        mu = float(exact) * pair.n**2
        bound = rounding.public_error(pair.setting(), mu, pair.size)
        slack = _extended_error(pair.size / mu)
        # The case's own gap may be below 1e-8, where only the bound is claimed.
        found.append(Evidence(error, bound, "<=", slack))
        if mu >= 1e-16 * pair.size:
            found.append(Evidence(error, PUBLIC_ERROR, "<=", slack))
    return _tightest(found)


def _pairs(case: Case, sampling: Sampling, gaps: Sequence[float]) -> Iterator[_Pair]:
    """Yield the case's own maps, then its student and that with relative noise of each size."""
    size = (case.student.shape[1], case.student.shape[2])
    student = _balanced(case.student)
    yield _Pair(student, _balanced(resize_bilinear(case.teacher[np.newaxis], size)[0]))
    for gap in gaps:
        noise = np.abs(student).max(axis=0) * sampling.rng.standard_normal(student.shape)
        pair = _Pair(student, student + gap * noise)
        # Where all pixels are parallel, cosines change by gap² only: below what 40 digits resolve.
        if fa_loss(student, pair.teacher, method="spectrum") * pair.n**2 >= _SMALLEST * pair.size:
            yield pair


def _balanced(features: Array) -> Array:
    """Bring pixels to size 1 by powers of 2, exactly: float32 then holds them whatever they are."""
    _, exponents = np.frexp(np.abs(features).max(axis=0))
    return np.ldexp(features, -exponents)


def _extended_error(condition: float) -> float:
    return _EXTENDED_ROUNDINGS * extended.ROUNDOFF * condition


def _tightest(found: list[Evidence]) -> Evidence:
    """Return the evidence nearest to its bound, or beyond it."""
    return max(found, key=lambda e: (not e.holds, e.measured / e.claimed))


FLOATING_POINT = (
    Claim("F1", "extended precision", partial(_exact_path, method="direct")),
    Claim("F2", "extended precision", partial(_exact_path, method="gram")),
    Claim("F3", "extended precision", partial(_exact_path, method="spectrum")),
    Claim("F4", "extended precision", _fast_path),
    Claim("F5", "extended precision", _public),
)
