"""Rounding in the torch losses (§5): every dtype, nearly equal maps, an oracle of 50 digits."""

import mpmath
import numpy as np
import pytest
import torch
from torch_losses import EXACT, draw_maps, loss_named, values_and_gradient

import faqd_math as fm
from faqd_train.losses import affinity, autograd, batching, forms, gram
from faqd_train.losses.affinity import fa_loss, ffa_loss

UNIT_ROUNDOFF = 2.0**-53
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
# Unit roundoff of a gradient, which has the student's dtype.
GRADIENT_ROUNDOFF = dict(zip(DTYPES, [2.0**-53, 2.0**-24, 2.0**-8, 2.0**-11], strict=True))
GAPS = [10.0**-e for e in range(9)]
ORDERS = {"gram": 2, "direct": 2, "order 1": 1}


def maps_with_gap(gap, dtype):
    """Return a student and a teacher whose cosines differ by about ``gap``, exact in ``dtype``.

    They differ in one channel of half of the pixels, where the student has zeros: a small number
    is exact in every format, a small difference of large ones is not. The factor 2¹⁰ keeps the
    smallest within float16.
    """
    rng = np.random.default_rng(0)
    student = 2.0**10 * rng.standard_normal((4, 3, 4))
    student[0, :, :2] = 0
    teacher = student.copy()
    teacher[0, :, :2] = gap * 2.0**10 * rng.standard_normal((3, 2))
    return torch.from_numpy(student).to(dtype), torch.from_numpy(teacher).to(dtype)


def as_numpy(maps):
    return maps.detach().double().numpy()


def gap_in_50_digits(student, teacher):
    """Return A as an mpmath matrix."""

    def unit_vectors(maps):
        for pixel in as_numpy(maps).reshape(len(maps), -1).T:
            vector = [mpmath.mpf(float(entry)) for entry in pixel]
            norm = mpmath.sqrt(mpmath.fdot(vector, vector))
            yield [entry / norm for entry in vector]

    x, y = list(unit_vectors(student)), list(unit_vectors(teacher))
    n = range(len(x))
    return mpmath.matrix(
        [[mpmath.fdot(x[i], x[j]) - mpmath.fdot(y[i], y[j]) for j in n] for i in n]
    )


def exact_losses(student, teacher):
    """Return FA of order 2 and 1 in 50 digits."""
    with mpmath.workdps(50):
        gap = gap_in_50_digits(student, teacher)
        n = gap.rows
        return {
            2: mpmath.fsum(entry**2 for entry in gap) / n**2,
            1: mpmath.fsum(abs(entry) for entry in gap) / n**2,
        }


def relative_error(value, exact):
    with mpmath.workdps(50):
        return float(abs(mpmath.mpf(value.item()) / exact - 1))


def rounding_bound(student, teacher, exact, order, unit_roundoff=UNIT_ROUNDOFF):
    """Relative error that rounding explains: an entry of A is off by 2(2C + 8)u, ‖A‖/N by as much.

    With 1 for √s/N, which is at most √2, this is the bound u·√(s/μ) with its constant.
    """
    channels = max(len(student), len(teacher))
    return order * 2 * (2 * channels + 8) * unit_roundoff / float(exact[order]) ** (1 / order)


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ORDERS)
def test_value_of_nearly_equal_maps_keeps_its_digits(name, dtype, gap):
    loss, order = EXACT[name], ORDERS[name]
    student, teacher = maps_with_gap(gap, dtype)
    exact = exact_losses(student, teacher)
    value = loss(student, teacher)
    error = relative_error(value, exact[order])
    bound = rounding_bound(student, teacher, exact, order)
    assert bound <= 1e-5
    wide = dtype == torch.float64
    assert value.dtype == torch.float64 if wide else torch.float32
    # What is promised of float32, at every gap, is 1e-4.
    assert error <= (bound + 2.0**-53 if wide else 1e-4)


@pytest.mark.parametrize("name", ORDERS)
def test_rounding_bound_is_within_a_factor_1000_of_the_error(name):
    """The bound adds up worst cases of 4N² roundings; a bound far above would say nothing."""
    loss, order = EXACT[name], ORDERS[name]
    worst = 0.0
    for gap in GAPS:
        student, teacher = maps_with_gap(gap, torch.float64)
        exact = exact_losses(student, teacher)
        bound = rounding_bound(student, teacher, exact, order)
        worst = max(worst, relative_error(loss(student, teacher), exact[order]) / bound)
    assert 1e-3 <= worst <= 1


def test_gram_identity_alone_would_lose_the_loss_of_nearly_equal_maps(monkeypatch):
    student, teacher = maps_with_gap(1e-8, torch.float32)
    exact = exact_losses(student, teacher)[2]
    assert relative_error(fa_loss(student, teacher), exact) < 1e-5
    monkeypatch.setattr(gram, "smallest_share", lambda _: -1.0)
    # Its absolute error, some u, is as large as the loss, 1e-16: no digit is left.
    assert relative_error(fa_loss(student, teacher, method="gram"), exact) > 1e-2


@pytest.fixture
def float32_only(monkeypatch):
    """Compute as on a device without float64, such as MPS."""
    for module in (affinity, autograd, batching, forms):
        monkeypatch.setattr(module, "accumulation_dtype", lambda _: torch.float32)


@pytest.mark.usefixtures("float32_only")
@pytest.mark.parametrize("name", ORDERS)
def test_float32_accumulation_obeys_the_same_bound_with_its_own_roundoff(name):
    """As the gap closes from 1 to 1e-4; a quarter of the bound, which adds up worst cases."""
    worst = 0.0
    for quarter in range(17):
        student, teacher = maps_with_gap(10.0 ** (-quarter / 4), torch.float32)
        exact = exact_losses(student, teacher)
        bound = rounding_bound(student, teacher, exact, ORDERS[name], unit_roundoff=2.0**-24)
        error = relative_error(EXACT[name](student, teacher), exact[ORDERS[name]])
        worst = max(worst, error / (bound + 2.0**-24))
    assert 1e-3 <= worst <= 0.25


def test_only_the_samples_that_cancel_change_path():
    pairs = [maps_with_gap(gap, torch.float64) for gap in (1.0, 1e-8, 1e-3)]
    student, teacher = (torch.stack(maps) for maps in zip(*pairs, strict=True))
    values = fa_loss(student, teacher, method="gram", reduction="none")
    for value, pair in zip(values, pairs, strict=True):
        exact = exact_losses(*pair)
        assert relative_error(value, exact[2]) <= rounding_bound(*pair, exact, 2)


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", [1, 2])
def test_ffa_of_every_dtype_equals_the_reference(order, dtype, gap):
    """Both sides compute in float64, unless float32 gives what it promises."""
    student, teacher = maps_with_gap(gap, dtype)
    probes = fm.sample_probes(12, 5, rng=np.random.default_rng(1))
    value = ffa_loss(student, teacher, probes=torch.from_numpy(probes), order=order)
    expected = fm.ffa_loss(as_numpy(student), as_numpy(teacher), probes, order=order)
    output = 2.0**-53 if dtype == torch.float64 else 1e-4
    # An entry of AZ adds N entries of A, each off by 2(2C + 8 + N)u on either side, times |z|.
    rounding = 12 * np.abs(probes).max() * 4 * (2 * 4 + 8 + 12) * UNIT_ROUNDOFF
    assert abs(value.item() / expected - 1) <= output + 2 * rounding / expected ** (1 / order)


@pytest.mark.parametrize("gap", [1.0, 1e-2, 1e-4, 1e-6, 1e-8])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["gram", "direct", "ffa", "ffa one-sided"])
def test_gradient_of_every_dtype_equals_the_reference(name, dtype, gap):
    """Of FFA the reference is the loss of the same numbers in float64."""
    student, teacher = maps_with_gap(gap, dtype)
    loss = loss_named(name, 12)
    (actual,) = torch.autograd.grad(loss(student.requires_grad_(), teacher) * 2**14, student)
    assert actual.dtype == dtype
    expected = fm.fa_gradient(as_numpy(student), as_numpy(teacher))
    if name.startswith("ffa"):
        _, wide = values_and_gradient(loss, student.detach().double(), teacher.double())
        expected = wide.numpy()
    norms = np.linalg.norm(as_numpy(student), axis=0)
    # The gradient's terms, 4/N each, are off by (2C + 8 + N)u, on either side, over ‖F_i‖.
    floor = 4 / 12 * 2 * (2 * 4 + 8 + 12) * UNIT_ROUNDOFF / norms
    subnormal = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps / 2**14
    if dtype != torch.float64:  # of the largest, as a unit pixel sees it
        floor = floor + 1e-4 * np.abs(norms * expected).max() / norms
    error = np.abs(as_numpy(actual) / 2**14 - expected)
    assert np.all(error <= GRADIENT_ROUNDOFF[dtype] * np.abs(expected) + floor + subnormal)


def test_loss_scaling_reaches_float16_gradients_before_they_are_rounded():
    """A gradient below float16's range survives if the factor comes before the cast."""
    student, teacher = maps_with_gap(1e-5, torch.float16)
    student.requires_grad_()
    (plain,) = torch.autograd.grad(fa_loss(student, teacher), student)
    (scaled,) = torch.autograd.grad(fa_loss(student, teacher) * 2.0**28, student)
    expected = fm.fa_gradient(as_numpy(student), as_numpy(teacher))
    assert not plain.any()
    live = np.abs(expected) > np.abs(expected).max() / 10
    actual = scaled.double().numpy()[live] / 2.0**28
    np.testing.assert_allclose(actual, expected[live], rtol=2.0**-11 + 1e-6)


def test_dtypes_of_student_and_teacher_may_differ():
    student, teacher = maps_with_gap(1e-3, torch.float16)
    expected = fa_loss(student.double(), teacher.double())
    mixed = fa_loss(student.float(), teacher)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, expected.float())
    assert torch.equal(fa_loss(student, teacher.double()), expected)


@pytest.mark.parametrize("name", ["gram", "direct", "order 1", "ffa", "ffa one-sided"])
def test_autocast_changes_nothing(name):
    maps, loss = draw_maps(2, 16, 4, 4, dtype=torch.float32), loss_named(name, 16)
    expected = values_and_gradient(loss, *maps)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = values_and_gradient(loss, *maps)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize("method", ["gram", "direct"])
def test_loss_is_never_negative(method):
    rng = np.random.default_rng(0)
    student = torch.from_numpy(rng.standard_normal((500, 3, 2, 3)))
    values = fa_loss(student, 3 * student.flip(1), method=method, reduction="none")
    assert (values >= 0).all()
    # Equal affinities: entries at rounding level, (2(2C + 8)u)².
    assert (values <= (2 * (2 * 3 + 8) * UNIT_ROUNDOFF) ** 2).all()
