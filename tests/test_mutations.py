"""FA and FFA, each wrong in one place: `check` rejects every one, by the property named.

The right ones that it passes are in test_check.py.
"""

import numpy as np
import pytest
import torch
from right_losses import resized, torch_pair, torch_unit, unit
from torch.nn.functional import interpolate, normalize

from faqd_math.conformance import Conventions, check, suite

# Enough to find every one of these; the command's default is 100.
FEW = {"examples": 20, "replications": 1000}


def norms(maps):
    pixels = maps.reshape(*maps.shape[:2], -1)
    return pixels, np.linalg.norm(pixels, axis=1, keepdims=True)


def fa(
    unit=unit,
    resize=resized,
    gap=lambda x, y: x.mT @ x - y.mT @ y,
    total=lambda a: (a**2).sum(axis=(1, 2)),
    divide=lambda total, n: total / n**2,
    reduce=np.mean,
):
    """FA in six steps, each of which may be replaced by a wrong one."""

    def loss(student, teacher):
        x, y = unit(student), unit(resize(teacher, student.shape[2:]))
        return reduce(divide(total(gap(x, y)), x.shape[2]))

    return loss


def over(norm):
    """Divide live pixels by a wrong norm, given their vectors and right norms."""

    def unit(maps):
        pixels, right = norms(maps)
        return pixels / np.where(right > 0, norm(pixels, right), 1)

    return unit


def bare(maps):
    pixels, right = norms(maps)
    return pixels / right


def dead_as_live(maps):
    """Give dead pixels the direction of the first channel."""
    x = unit(maps)
    x[:, 0] += (x == 0).all(axis=1)
    return x


def in_place(maps):
    pixels, right = norms(maps)
    pixels /= np.where(right > 0, right, 1)
    return pixels


def centred(maps):
    """Correlations of pixels, not cosines."""
    return unit(maps - maps.mean(axis=1, keepdims=True))


def half_precision(maps):
    return unit(maps).astype(np.float16).astype(float)


def without_diagonal(a):
    return (a**2).sum(axis=(1, 2)) - (np.diagonal(a, axis1=1, axis2=2) ** 2).sum(axis=1)


def gram_without_factor(student, teacher):
    x, y = unit(student), unit(resized(teacher, student.shape[2:]))
    terms = [(m**2).sum(axis=(1, 2)) for m in (x @ x.mT, y @ y.mT, x @ y.mT)]
    return np.mean(terms[0] + terms[1] - terms[2]) / x.shape[2] ** 2


def torch_resize(**options):
    def resize(maps, size):
        return interpolate(torch.from_numpy(maps), size=size, **options).numpy()

    return resize


FA = {
    "a factor 1.001": ("DEF", fa(divide=lambda total, n: 1.001 * total / n**2)),
    "a factor 2": ("DEF", fa(divide=lambda total, n: 2 * total / n**2)),
    "N, not N²": ("DEF", fa(divide=lambda total, n: total / n)),
    "N(N − 1), not N²": ("DEF", fa(divide=lambda total, n: total / (n * (n - 1) or 1))),
    "a root": ("DEF", fa(divide=lambda total, n: np.sqrt(total) / n)),
    "the root of a mean of roots": ("R6", fa(reduce=lambda values: np.sqrt(values).mean() ** 2)),
    "a sum of affinities": ("DEF", fa(gap=lambda x, y: x.mT @ x + y.mT @ y)),
    "the teacher's affinity twice": ("DEF", fa(gap=lambda x, y: x.mT @ x - 2 * y.mT @ y)),
    "signed entries": ("DEF", fa(total=lambda a: a.sum(axis=(1, 2)))),
    "order 1": ("DEF", fa(total=lambda a: np.abs(a).sum(axis=(1, 2)))),
    "positive entries only": ("DEF", fa(total=lambda a: (np.maximum(a, 0) ** 2).sum((1, 2)))),
    "the upper triangle": ("DEF", fa(total=lambda a: (np.triu(a) ** 2).sum(axis=(1, 2)))),
    "the diagonal left out": ("R4", fa(total=without_diagonal)),
    "a spectral norm": ("DEF", fa(total=lambda a: np.linalg.norm(a, 2, axis=(1, 2)) ** 2)),
    "a Gram identity without its 2": ("DEF", gram_without_factor),
    "ε = 1e-5 in the norm": ("EPS", fa(over(lambda _, norm: norm + 1e-5))),
    "ε = 1e-12 in the norm": ("EPS", fa(over(lambda _, norm: norm + 1e-12))),
    "ε = 1e-12 under the root": ("EPS", fa(over(lambda _, norm: np.sqrt(norm**2 + 1e-12)))),
    "norms of at least 1e-3": ("EPS", fa(over(lambda _, norm: np.maximum(norm, 1e-3)))),
    "norm 1": ("DEF", fa(over(lambda p, _: np.abs(p).sum(axis=1, keepdims=True)))),
    "norm ∞": ("DEF", fa(over(lambda p, _: np.abs(p).max(axis=1, keepdims=True)))),
    "one norm for all pixels": ("I2", fa(over(lambda _, norm: norm.max(axis=2, keepdims=True)))),
    "inner products": ("I2", fa(over(lambda _, norm: np.ones_like(norm)))),
    "correlations": ("DEF", fa(centred)),
    "NaN at dead pixels": ("R4", fa(bare)),
    "dead pixels of affinity 1": ("R4", fa(dead_as_live)),
    "written into the maps": ("INPUT", fa(in_place)),
    "half precision": ("DEF", fa(half_precision)),
    "a sum over the batch": ("R6", fa(reduce=np.sum)),
    "the first sample": ("R6", fa(reduce=lambda values: values[0])),
    "corners not aligned": ("SIZE", fa(resize=torch_resize(mode="bilinear"))),
    "nearest neighbours": ("SIZE", fa(resize=torch_resize(mode="nearest"))),
    "a transposed teacher": ("DEF", fa(resize=lambda m, size: resized(m.mT, size))),
}


def ffa(
    student_probes=lambda z: z,
    teacher_probes=lambda z: z,
    total=lambda az: (az**2).sum(axis=(1, 2)),
    divide=lambda total, n, k: total / (k * n**2),
    sign=-1,
):
    """FFA with given probes, in steps of which each may be wrong."""

    def loss(student, teacher, probes):
        x, y = unit(student), unit(resized(teacher, student.shape[2:]))
        az = x.mT @ (x @ student_probes(probes)) + sign * y.mT @ (y @ teacher_probes(probes))
        return divide(total(az), *probes.shape).mean()

    return loss


FFA = {
    "not divided by k": ("I7", ffa(divide=lambda total, n, _: total / n**2)),
    "N for k": ("DEF", ffa(divide=lambda total, n, _: total / n**3)),
    "a sum before the square": ("I7", ffa(lambda z: z.sum(1, keepdims=True))),
    "a plus": ("DEF", ffa(sign=1)),
    "probes of norm 1": ("I7", ffa(*2 * [lambda z: z / np.linalg.norm(z, axis=0).clip(1e-9)])),
    "signs of the probes": ("I7", ffa(np.sign, np.sign)),
    "the first probe only": ("I7", ffa(total=lambda az: (az[..., :1] ** 2).sum((1, 2)))),
    "other probes for the teacher": ("DEF", ffa(teacher_probes=lambda z: np.roll(z, 1, axis=0))),
    "order 1": ("I7", ffa(total=lambda az: np.abs(az).sum(axis=(1, 2)))),
}


def drawing(draw, right=ffa()):  # noqa: B008  (a pure function)
    """FFA that draws (N, 15) probes in a way that may be wrong."""

    def loss(student, teacher, rng):
        return right(student, teacher, draw(rng, (student[0, 0].size, 15)))

    return loss


def every_second_time():
    kept = []

    def draw(rng, shape):
        if not kept or kept[0].shape != shape or len(kept) == 2:
            kept[:] = [rng.standard_normal(shape)]
        else:
            kept.append(kept[0])
        return kept[0]

    return draw


def globally_seeded(_, shape):
    np.random.seed(3)  # noqa: NPY002  (planted)
    return np.random.standard_normal(shape)  # noqa: NPY002


def globally_drawn(_, shape):
    return np.random.standard_normal(shape)  # noqa: NPY002  (planted)


def other_probes_for_the_teacher(student, teacher, rng):
    n = student[0, 0].size
    z, other = rng.standard_normal((2, n, 15))
    return ffa(teacher_probes=lambda _: other)(student, teacher, z)


DRAWING = {
    "fixed probes": ("R2", drawing(lambda _, s: np.random.default_rng(1).standard_normal(s))),
    "stale every second time": ("R2", drawing(every_second_time())),
    "a global generator": ("R3", drawing(globally_drawn)),
    "a global seed": ("R3", drawing(globally_seeded)),
    "a global generator, not the one passed": ("SEED", drawing(globally_drawn)),
    "variance 1.21": ("P1", drawing(lambda rng, s: 1.1 * rng.standard_normal(s))),
    "mean ½": ("P1", drawing(lambda rng, s: 0.5 + rng.standard_normal(s))),
    "uniform on [0, 1]": ("P1", drawing(lambda rng, s: rng.random(s))),
    "one entry for all pixels": (  # unbiased where the rows of the gap cancel, as on these maps
        "P2",
        drawing(lambda rng, s: np.broadcast_to(rng.standard_normal((1, s[1])), s)),
    ),
    "one probe, repeated": (
        "P2",
        drawing(lambda rng, s: np.broadcast_to(rng.standard_normal((s[0], 1)), s)),
    ),
    "5 probes, not 15": ("P2", drawing(lambda rng, s: rng.standard_normal((s[0], 5)))),
    "other probes for the teacher": ("P1", other_probes_for_the_teacher),
    "a root": ("P1", lambda *a, rng: drawing(lambda r, s: r.standard_normal(s))(*a, rng) ** 0.5),
}


def squares(x, y):
    return (x.mT @ x - y.mT @ y).square().mean()


def of_torch(unit=torch_unit, size=squares):
    def loss(student, teacher):
        teacher = interpolate(teacher, student.shape[2:], mode="bilinear", align_corners=True)
        return size(unit(student), unit(teacher))

    return loss


def scaled_gradient(loss, factor):
    def wrong(*inputs, **keywords):
        value = loss(*inputs, **keywords)
        return value.detach() + factor * (value - value.detach())

    return wrong


def constant_norm(maps):
    """Take the norm for a constant: the gradient is not made tangent."""
    pixels = maps.flatten(2)
    dead = (pixels == 0).all(dim=1, keepdim=True)
    return pixels / torch.linalg.vector_norm(pixels.detach(), dim=1, keepdim=True) * ~dead


def nan_masked_forward(maps):
    """Mask dead pixels after the division: the value is right, the gradient NaN."""
    pixels = maps.flatten(2)
    x = pixels / pixels.square().sum(dim=1, keepdim=True).sqrt()
    return torch.where((pixels == 0).all(dim=1, keepdim=True), 0.0, x)


def clamped(maps):
    """Divide by at least 1e-12: the value is right, a dead pixel's gradient of order 1e12."""
    return normalize(maps.flatten(2), dim=1)


GRADIENT = {
    "half the gradient": ("I8", scaled_gradient(of_torch(), 0.5)),
    "the gradient's sign": ("I8", scaled_gradient(of_torch(), -1)),
    "one factor held constant": (
        "I8",
        of_torch(size=lambda x, y: (x.detach().mT @ x - y.mT @ y).square().mean()),
    ),
    "a constant norm": ("I8", of_torch(constant_norm)),
    "no gradient": ("I8", lambda s, t: of_torch()(s.detach(), t)),
    "NaN at dead pixels": ("R4-grad", of_torch(nan_masked_forward)),
    "1e12 at dead pixels": ("R4-grad", of_torch(clamped)),
}


def fast(inner, outer):
    """FFA whose two products with X may be held constant."""

    def loss(student, teacher, probes):
        x, y = torch_pair(student, teacher)
        az = outer(x).mT @ (inner(x) @ probes) - y.mT @ (y @ probes)
        return az.square().mean() / len(probes)

    return loss


def same(x):
    return x


def drawing_torch(student, teacher, generator):
    n = student.shape[2] * student.shape[3]
    probes = torch.randn(n, 15, generator=generator, dtype=student.dtype)
    return fast(same, same)(student, teacher, probes)


FAST_GRADIENT = {
    "ZZᵀA only": ("I9", fast(torch.detach, same)),
    "AZZᵀ only": ("I9", fast(same, torch.detach)),
}
DRAWING_GRADIENT = {"half the gradient": ("P8", scaled_gradient(drawing_torch, 0.5))}

GIVEN = {"kind": "ffa", "probes": "argument"}
INSIDE = {"kind": "ffa", "probes": "inside"}
MUTANTS = [
    (conventions, name, *mutant)
    for conventions, mutants in (
        (Conventions(), FA),
        (Conventions(**GIVEN), FFA),
        (Conventions(**INSIDE, generator="rng"), DRAWING),
        (Conventions(torch=True), GRADIENT),
        (Conventions(**GIVEN, torch=True), FAST_GRADIENT),
        (Conventions(**INSIDE, generator="generator", torch=True), DRAWING_GRADIENT),
    )
    for name, mutant in mutants.items()
]


@pytest.mark.parametrize(
    ("conventions", "property_id", "wrong"),
    [
        pytest.param(
            conventions,
            property_id,
            wrong,
            id=f"{conventions.kind}: {name}",
            # Hypothesis shrinks what these fail on for up to half a minute.
            marks=[pytest.mark.slow]
            if conventions.torch or conventions.probes == "argument"
            else [],
        )
        for conventions, name, property_id, wrong in MUTANTS
    ],
)
def test_every_mutant_is_rejected_by_the_property_it_lacks(conventions, property_id, wrong):
    others = {listed.id for listed in suite(conventions)} - {property_id}
    (found,) = check(wrong, conventions, skip=others, **FEW)
    assert found.checked.id == property_id
    assert not found.holds


@pytest.mark.parametrize(
    ("conventions", "right"),
    [
        (Conventions(), fa()),
        (Conventions(**GIVEN), ffa()),
        (
            Conventions(**INSIDE, generator="rng"),
            drawing(lambda rng, shape: rng.standard_normal(shape)),
        ),
        (Conventions(torch=True), of_torch()),
        (Conventions(**GIVEN, torch=True), fast(same, same)),
        (Conventions(**INSIDE, generator="generator", torch=True), drawing_torch),
    ],
    ids=["FA", "FFA", "drawing", "torch", "FFA, torch", "drawing, torch"],
)
def test_what_the_mutants_are_made_of_is_right(conventions, right):
    assert [f.message for f in check(right, conventions, **FEW) if not f.holds] == []
