"""Rounding of the torch losses in four dtypes, beside plain formulas in those dtypes (§5).

The losses compute in float64 whatever they are given, so that their errors are those of float64 and
of rounding the result to float32. The plain formulas show what that saves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from functools import partial

import numpy as np
import torch
from torch import Tensor

from analysis.rendering.product import Product, Result
from analysis.studies.floating_point_figure import draw, rows
from analysis.studies.study import Sources, Study
from faqd_math.theory import extended, rounding
from faqd_train.losses.affinity import fa_loss, ffa_loss, sample_probes

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
GAPS = tuple(10.0**-decade for decade in range(9))

# Features of this size keep differences of 1e-8 of it within float16's range.
_SCALE = 2.0**10
_CHANNELS, _SIDE, _K = 8, 8, 15


@dataclass(frozen=True)
class ErrorRow:
    """A path's error at one gap.

    Attributes
    ----------
    path : str
        "fa_loss", "fa_loss direct", "ffa_loss", or "plain direct", "plain gram", "plain
        spectrum" and "plain ffa".
    dtype : torch.dtype
        Of the maps, and of all that a plain path computes.
    gap : float
        Size of the difference between the maps.
    error : float
        |computed/exact − 1|, exact being the loss of the maps as rounded to ``dtype``.
    bound : float
        Of `faqd_math.theory.rounding`; infinite where the model gives none.
    """

    path: str
    dtype: torch.dtype
    gap: float
    error: float
    bound: float


@dataclass(frozen=True)
class _Problem:
    """Maps in one dtype, probes, and the quantities that bounds depend on."""

    student: Tensor
    teacher: Tensor
    probes: Tensor
    fa: Decimal
    ffa: Decimal

    def setting(self, unit_roundoff: float | None = None) -> rounding.Setting:
        """Sizes, and the unit roundoff of the computation: by default that of the maps' dtype."""
        channels = len(self.student), len(self.teacher)
        u = unit_roundoff or torch.finfo(self.student.dtype).eps / 2
        return rounding.Setting(self.student[0].numel(), channels, u)

    @property
    def mu(self) -> float:
        return float(self.fa) * self.student[0].numel() ** 2

    @property
    def size(self) -> float:
        """‖S_s‖_F² + ‖S_t‖_F²."""
        x, y = _unit_pixels(self.student.double()), _unit_pixels(self.teacher.double())
        return float(_squared_norm(x @ x.mT) + _squared_norm(y @ y.mT))

    @property
    def amplification(self) -> float:
        """‖Z‖_F/‖AZ‖_F."""
        images = np.sqrt(float(self.ffa) * self.probes.shape[1]) * len(self.probes)
        return float(self.probes.norm()) / float(images)


def error_table(
    *,
    generator: torch.Generator,
    dtypes: Sequence[torch.dtype] = DTYPES,
    gaps: Sequence[float] = GAPS,
    channels: int = _CHANNELS,
    side: int = _SIDE,
    k: int = _K,
) -> list[ErrorRow]:
    """Measure every path's error in every dtype at every gap.

    Parameters
    ----------
    generator : torch.Generator
        Source of the maps and of Rademacher probes, which are exact in every dtype.
    dtypes, gaps
        What to measure.
    channels, side, k : int
        Size of the maps (channels, side, side), and probes.
    """
    rows = []
    for gap in gaps:
        student, teacher = _maps_with_gap(gap, (channels, side, side), generator)
        probes = sample_probes(
            side**2, k, law="rademacher", generator=generator, dtype=torch.float64
        )
        for dtype in dtypes:
            problem = _problem(student.to(dtype), teacher.to(dtype), probes)
            for path, value in _values(problem).items():
                exact = problem.ffa if path.endswith(("ffa", "ffa_loss")) else problem.fa
                error = extended.relative_error(float(value), exact)
                rows.append(ErrorRow(path, dtype, gap, error, _BOUNDS[path](problem)))
    return rows


def _maps_with_gap(
    gap: float, shape: tuple[int, int, int], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw maps that differ in one channel of the upper half, where the student has zeros.

    A small number keeps its digits in every dtype; a small difference of large ones does not.
    """
    student = _SCALE * torch.randn(shape, generator=generator, dtype=torch.float64)
    half = shape[1] // 2
    student[0, :half] = 0
    teacher = student.clone()
    noise = torch.randn((half, shape[2]), generator=generator, dtype=torch.float64)
    teacher[0, :half] = gap * _SCALE * noise
    return student, teacher


def _problem(student: Tensor, teacher: Tensor, probes: Tensor) -> _Problem:
    maps = student.double().numpy(), teacher.double().numpy()
    exact_ffa = extended.ffa_loss(*maps, probes.numpy())
    return _Problem(student, teacher, probes, extended.fa_loss(*maps), exact_ffa)


def _values(problem: _Problem) -> dict[str, Tensor]:
    """Compute each path's loss; torch has no QR in the formats of 16 bits."""
    student, teacher, z = problem.student, problem.teacher, problem.probes
    values = {
        "fa_loss": fa_loss(student, teacher),
        "fa_loss direct": fa_loss(student, teacher, method="direct"),
        "ffa_loss": ffa_loss(student, teacher, probes=z),
    }
    x, y, z = _unit_pixels(student), _unit_pixels(teacher), z.to(student.dtype)
    plain = {
        "plain direct": _squared_norm(x.mT @ x - y.mT @ y),
        "plain gram": (
            _squared_norm(x @ x.mT) + _squared_norm(y @ y.mT) - 2 * _squared_norm(x @ y.mT)
        ),
        "plain ffa": _squared_norm(x.mT @ (x @ z) - y.mT @ (y @ z)) / z.shape[1],
    }
    if problem.setting().unit_roundoff < 2.0**-20:
        r = torch.linalg.qr(torch.cat([x, y]).mT, mode="r").R
        r_student, r_teacher = r.split([len(x), len(y)], dim=1)
        plain["plain spectrum"] = _squared_norm(r_student @ r_student.mT - r_teacher @ r_teacher.mT)
    n = x.shape[1]
    return values | {path: total / n**2 for path, total in plain.items()}


def _unit_pixels(features: Tensor) -> Tensor:
    """x_i = F_i/‖F_i‖ as (C, N), in the features' own dtype."""
    pixels = features.flatten(1)
    return pixels / torch.linalg.vector_norm(pixels, dim=0)


def _squared_norm(matrix: Tensor) -> Tensor:
    return matrix.square().sum()


def _public(bound: Callable[[_Problem], float]) -> Callable[[_Problem], float]:
    """Allow what is promised of maps below float64."""
    return lambda p: bound(p) + (0.0 if p.student.dtype == torch.float64 else 1e-4)


def _direct_bound(p: _Problem, unit_roundoff: float | None = None) -> float:
    return rounding.direct_error(p.setting(unit_roundoff), p.mu)


def _ffa_bound(p: _Problem, unit_roundoff: float | None = None) -> float:
    return rounding.ffa_error(p.setting(unit_roundoff), p.amplification)


_BOUNDS: Mapping[str, Callable[[_Problem], float]] = {
    "fa_loss": _public(
        lambda p: rounding.public_error(p.setting(rounding.UNIT_ROUNDOFF), p.mu, p.size)
    ),
    "fa_loss direct": _public(partial(_direct_bound, unit_roundoff=rounding.UNIT_ROUNDOFF)),
    "ffa_loss": _public(partial(_ffa_bound, unit_roundoff=rounding.UNIT_ROUNDOFF)),
    "plain direct": _direct_bound,
    "plain gram": lambda p: rounding.gram_error(p.setting(), p.mu, p.size),
    "plain spectrum": lambda p: rounding.spectrum_error(p.setting(), p.mu),
    "plain ffa": _ffa_bound,
}


def _compute(sources: Sources) -> Result:
    generator = torch.Generator().manual_seed(sources.seed)
    table = error_table(generator=generator, channels=_CHANNELS, side=_SIDE, k=_K)
    return {
        "channels": _CHANNELS,
        "pixels": _SIDE**2,
        "rows": [
            asdict(row)
            | {"bound": row.bound if np.isfinite(row.bound) else None}
            | {"dtype": str(row.dtype).removeprefix("torch.")}
            for row in table
        ],
    }


STUDY = Study(
    name="floating-point",
    keys=frozenset({"rows", "channels", "pixels"}),
    compute=_compute,
    k=(_K,),
    products=(
        Product(
            name="float32-cancellation",
            text="As the maps agree, the plain Gram formula loses all digits in float32; the "
            "losses of the package keep seven.",
            draw=draw,
            rows=rows,
        ),
    ),
)
