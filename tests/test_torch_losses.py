"""The torch losses against the NumPy reference: values and gradients, whatever the maps."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_losses import NAMES, draw_maps, loss_named, values_and_gradient

import faqd_math as fm
from faqd_math.features import resize_bilinear
from faqd_math.testing import feature_pairs, probes_for
from faqd_train.losses import affinity, forms
from faqd_train.losses.affinity import fa_loss, ffa_loss

UNIT_ROUNDOFF = np.finfo(np.float64).eps / 2
RELATIVE = 1e-10
EXACT_PATHS = [(2, "auto"), (2, "gram"), (2, "direct"), (1, "auto")]
REDUCTIONS = ["mean", "sum", "none"]


@st.composite
def pairs_with_probes(draw):
    student, teacher = draw(feature_pairs())
    return student, teacher, draw(probes_for(student))


def samples_of(maps):
    return maps if maps.ndim == 4 else maps[np.newaxis]


def pixels_of(maps):
    return maps.shape[-2] * maps.shape[-1]


def gap_rounding(student, teacher):
    """Return what rounding explains in an entry of the gap, both implementations together.

    A cosine is off by at most (2C + 8)u, and by 2Nu more where products are regrouped; the gap
    has two, and there are two implementations.
    """
    terms = 2 * max(student.shape[-3], teacher.shape[-3]) + 8 + 2 * pixels_of(student)
    return 4 * terms * UNIT_ROUNDOFF * interpolation_loss(student, teacher)


def interpolation_loss(student, teacher):
    """How many times smaller than what it is made of a resized pixel is, at most."""
    size = student.shape[-2:]
    if teacher.shape[-2:] == size:
        return 1.0
    resized = np.linalg.norm(resize_bilinear(samples_of(teacher), size), axis=1)
    parts = np.linalg.norm(resize_bilinear(np.abs(samples_of(teacher)), size), axis=1)
    return (parts[parts > 0] / resized[parts > 0]).max(initial=1.0)


def assert_values_match(actual, expected, order, floor):
    """Compare the 1/order-th powers: they are norms of the gap, so they inherit its error."""
    error = np.abs(np.power(actual, 1 / order) - np.power(expected, 1 / order))
    allowed = RELATIVE / order * np.power(expected, 1 / order) + floor
    if not np.all(error <= allowed):
        raise AssertionError(f"values: {actual} against {expected}, off by {error} > {allowed}")


def assert_gradients_match(actual, expected, student, floor):
    """Compare ‖F_i‖·g_i, which has no units, relative to the largest of its sample."""
    norms = np.linalg.norm(samples_of(student), axis=1, keepdims=True)
    error = np.linalg.norm(norms * samples_of(actual - expected), axis=1)
    size = np.linalg.norm(norms * samples_of(expected), axis=1)
    allowed = RELATIVE * size.max(axis=(1, 2), keepdims=True) + floor
    if not np.all(error <= allowed):
        raise AssertionError(f"gradients: off by {error.max()} > {np.max(allowed)}")


def assert_fa_matches(loss, student, teacher, order=2, reduction="mean"):
    """Hold a differentiable exact FA against the reference."""
    rounding = gap_rounding(student, teacher)
    n = pixels_of(student)
    value, gradient = value_and_gradient(loss, student, teacher, reduction=reduction)
    expected = fm.fa_loss(student, teacher, order=order, reduction=reduction)
    assert_values_match(value, expected, order, added_up(student, reduction) * rounding)
    summed = "sum" if reduction == "none" else reduction
    expected = fm.fa_gradient(student, teacher, order=order, reduction=summed)
    # |(4/N²)·X ΔA| ≤ 4/N times the error of an entry, four times over for the projection.
    floor = 16 / n * rounding
    if order == 1:
        floor = floor + undecided_signs(student, teacher, rounding)
    assert_gradients_match(gradient, expected, student, floor)


def added_up(student, reduction):
    """Return how many samples' errors a value adds up."""
    return 1 if reduction == "none" else len(samples_of(student))


def undecided_signs(student, teacher, rounding):
    """Return, per pixel (B, H, W), what the signs of entries at rounding level may change.

    Each adds ±(2/N²)·x_j. Diagonal entries do not count: x_i itself is projected out.
    """
    batch = samples_of(student)
    teacher = resize_bilinear(samples_of(teacher), batch.shape[2:])
    undecided = np.abs(fm.affinity(batch) - fm.affinity(teacher)) <= rounding
    undecided &= np.any(batch != 0, axis=1).reshape(len(batch), 1, -1)
    undecided &= ~np.eye(pixels_of(batch), dtype=bool)
    return 4 / pixels_of(batch) ** 2 * undecided.sum(axis=2).reshape(len(batch), *batch.shape[2:])


def assert_ffa_matches(loss, student, teacher, probes, order=2, reduction="mean"):
    """Hold a differentiable FFA with given probes against the reference."""
    n, k = probes.shape[-2:]
    rounding = gap_rounding(student, teacher)
    sizes = np.abs(probes).sum(axis=-2, keepdims=True)  # ‖z_j‖₁
    loss = partial(loss, probes=torch.from_numpy(probes))
    value, gradient = value_and_gradient(loss, student, teacher, reduction=reduction)
    expected = fm.ffa_loss(student, teacher, probes, order=order, reduction=reduction)
    # An entry of AZ is off by ‖z_j‖₁ times the error of one of A; ‖AZ‖_F has √(Nk) of them.
    floor = added_up(student, reduction) * rounding * sizes.max() / n ** (1 / order)
    assert_values_match(value, expected, order, floor)
    summed = "sum" if reduction == "none" else reduction
    expected = fm.ffa_gradient(student, teacher, probes, order=order, reduction=summed)
    # |X ΔV| ≤ N‖z_j‖₁ and |XZ| ≤ ‖z_j‖₁ in (2/(kN²))·X(VZᵀ + ZVᵀ), and four times that for the
    # projection, as above.
    terms = (sizes * (n * np.abs(probes) + sizes)).sum(axis=-1)
    floor = 8 / (k * n**2) * rounding * terms.reshape(-1, *student.shape[-2:])
    if order == 1:
        # A sign of AZ at rounding level moves column i by x_i·z_ij and (XZ)_j, ‖(XZ)_j‖ ≤ N|z|.
        batch = samples_of(student)
        teacher = resize_bilinear(samples_of(teacher), batch.shape[2:])
        az = (fm.affinity(batch) - fm.affinity(teacher)) @ probes
        alive = np.any(batch != 0, axis=1).reshape(len(batch), -1, 1)
        undecided = np.count_nonzero((np.abs(az) <= rounding * sizes) & alive)
        floor += undecided * 2 / (k * n**2) * (1 + n) * np.abs(probes).max()
    assert_gradients_match(gradient, expected, student, floor)


def value_and_gradient(loss, student, teacher, reduction):
    features = torch.from_numpy(student).clone().requires_grad_()
    value = loss(features, torch.from_numpy(teacher), reduction=reduction)
    value.sum().backward()
    assert value.shape == (student.shape[:-3] if reduction == "none" else ())
    return value.detach().numpy(), features.grad.numpy()


@pytest.mark.parametrize(("order", "method"), EXACT_PATHS)
@given(pair=feature_pairs(), reduction=st.sampled_from(REDUCTIONS))
def test_fa_equals_the_reference_in_value_and_gradient(order, method, pair, reduction):
    assert_fa_matches(partial(fa_loss, order=order, method=method), *pair, order, reduction)


@pytest.mark.parametrize("order", [1, 2])
@given(drawn=pairs_with_probes(), reduction=st.sampled_from(REDUCTIONS))
def test_ffa_equals_the_reference_in_value_and_gradient(order, drawn, reduction):
    assert_ffa_matches(partial(ffa_loss, order=order), *drawn, order, reduction)


def naive_fa(student, teacher, *, reduction, epsilon=0.0, teacher_epsilon=0.0):
    """FA of order 2 by autograd and an N×N matrix, for maps of one size without dead pixels."""

    def cosines(maps, epsilon):
        pixels = maps.flatten(2)
        unit = pixels / (pixels.norm(dim=1, keepdim=True) + epsilon)
        return unit.mT @ unit

    gap = cosines(student, epsilon) - cosines(teacher, teacher_epsilon)
    values = gap.square().mean(dim=(1, 2))
    return values.mean() if reduction == "mean" else values.sum()


def with_gradient_of(value, gradient):
    """Return the first's value with the second's gradient."""
    return value.detach() + gradient - gradient.detach()


PLANTED_ERRORS = {
    "an ε in the norm": lambda s, t, reduction: naive_fa(
        s, t, reduction=reduction, epsilon=1e-5, teacher_epsilon=1e-5
    ),
    "an ε in the teacher's norm, of 1e-8": lambda s, t, reduction: naive_fa(
        s, t, reduction=reduction, teacher_epsilon=1e-8
    ),
    "a sum instead of a mean": lambda s, t, reduction: naive_fa(  # noqa: ARG005 (the error)
        s, t, reduction="sum"
    ),
    "a missing factor 2 in the gradient": lambda s, t, reduction: with_gradient_of(
        fa_loss(s, t, reduction=reduction), fa_loss(s, t, reduction=reduction) / 2
    ),
    "a gradient off by 1e-9": lambda s, t, reduction: with_gradient_of(
        fa_loss(s, t, reduction=reduction), fa_loss(s, t, reduction=reduction) * (1 + 1e-9)
    ),
    "a value off by 1e-9": lambda s, t, reduction: with_gradient_of(
        fa_loss(s, t, reduction=reduction) * (1 + 1e-9), fa_loss(s, t, reduction=reduction)
    ),
    "a root at order 2": lambda s, t, reduction: fa_loss(s, t, reduction=reduction).sqrt(),
}


def test_parity_check_accepts_an_independent_implementation():
    student, teacher = np.random.default_rng(0).standard_normal((2, 3, 5, 4, 4))
    assert_fa_matches(naive_fa, student, teacher)


@pytest.mark.parametrize("error", PLANTED_ERRORS)
def test_parity_check_catches(error):
    student, teacher = np.random.default_rng(0).standard_normal((2, 3, 5, 4, 4))
    with pytest.raises(AssertionError, match=r"values|gradients"):
        assert_fa_matches(PLANTED_ERRORS[error], student, teacher)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("size", [(4, 4), (3, 5)])
def test_ffa_parity_check_catches(order, size):
    rng = np.random.default_rng(0)
    student, teacher = rng.standard_normal((3, 5, 4, 4)), rng.standard_normal((3, 5, *size))
    probes = fm.sample_probes(16, 5, rng=rng)
    loss = partial(ffa_loss, order=order)
    assert_ffa_matches(loss, student, teacher, probes, order)

    def scaled_probes(student, teacher, *, probes, reduction):
        return loss(student, teacher, probes=(1 + 1e-9) * probes, reduction=reduction)

    def scaled_gradient(student, teacher, *, probes, reduction):
        value = loss(student, teacher, probes=probes, reduction=reduction)
        return with_gradient_of(value, value * (1 + 1e-9))

    for planted, message in ((scaled_probes, "values"), (scaled_gradient, "gradients")):
        with pytest.raises(AssertionError, match=message):
            assert_ffa_matches(planted, student, teacher, probes, order)


def assert_value_within_1e_4(value, expected, order, floor):
    """Compare values above 1e-9, and the 1/order-th powers of smaller ones as above."""
    if expected > 1e-9 and not abs(value - expected) <= 1e-4 * expected:
        raise AssertionError(f"values: {value} against {expected}, off by more than 1e-4 of it")
    if expected <= 1e-9:
        assert_values_match(value, expected, order, floor)


def assert_low_precision_matches(student, teacher, probes, order):
    """Hold FA and FFA of maps of any dtype against the reference of the same numbers."""
    exact = [maps.double().numpy() for maps in (student, teacher)]
    rounding = gap_rounding(*exact)
    for value, expected, size in [
        (fa_loss(student, teacher, order=order), fm.fa_loss(*exact, order=order), 1.0),
        (
            ffa_loss(student, teacher, probes=torch.from_numpy(probes), order=order),
            fm.ffa_loss(*exact, probes, order=order),
            np.abs(probes).sum(axis=-2).max() / pixels_of(exact[0]) ** (1 / order),
        ),
    ]:
        # The result is float32: rounded, and below 2⁻¹²⁶ to multiples of 2⁻¹⁴⁹.
        floor = rounding * size + 2.0**-24 * expected ** (1 / order) + 2.0 ** (-149 / order)
        assert_value_within_1e_4(value.item(), expected, order, floor)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("order", [1, 2])
@given(drawn=pairs_with_probes())
def test_maps_of_low_precision_give_the_reference_value_within_1e_4(dtype, order, drawn):
    *maps, probes = drawn
    assert_low_precision_matches(*(torch.from_numpy(m).to(dtype) for m in maps), probes, order)


@pytest.mark.parametrize("order", [1, 2])
def test_float32_alone_would_not(order, monkeypatch):
    """Of maps that nearly agree, float32 loses the gap; what is promised comes from float64."""
    rng = np.random.default_rng(0)
    student = torch.from_numpy(rng.standard_normal((3, 5, 4, 4))).float()
    teacher = student + 1e-4 * torch.from_numpy(rng.standard_normal((3, 5, 4, 4))).float()
    probes = fm.sample_probes(16, 5, rng=rng)
    assert_low_precision_matches(student, teacher, probes, order)
    monkeypatch.setattr(forms, "ACCURACY", 1e6)
    with pytest.raises(AssertionError, match="off by more than 1e-4"):
        assert_low_precision_matches(student, teacher, probes, order)


@pytest.mark.parametrize("shape", [(40, 64, 8, 8), (20, 16, 32, 32)])
@pytest.mark.parametrize("name", NAMES)
def test_a_large_batch_gives_what_its_samples_give_alone(name, shape):
    """More than is computed at once; with samples that float32 does not compute well enough."""
    student, teacher = draw_maps(*shape, dtype=torch.float32)
    teacher[2] = student[2] + 1e-5 * teacher[2]  # cancels
    student[-1] *= 1e-30  # squares underflow
    loss = loss_named(name, shape[2] * shape[3])
    values, gradient = values_and_gradient(loss, student, teacher)
    for i in range(len(student)):
        one = slice(i, i + 1)
        value, alone = values_and_gradient(loss, student[one], teacher[one])
        # Sums of float32 in the order that a batch of that length takes; signs near 0 may differ.
        torch.testing.assert_close(values[one], value, rtol=1e-5, atol=0)
        floor = (1e-3 if "order" in name else 1e-5) * alone.abs().max()
        torch.testing.assert_close(gradient[one], alone, rtol=1e-5, atol=floor.item())


@pytest.mark.parametrize("name", ["gram", "direct", "order 1", "ffa"])
def test_layout_of_the_maps_changes_nothing_but_the_gradient_s_layout(name):
    """Channels-last and permuted maps against the reference, which has no layouts."""
    maps, loss = [m.numpy() for m in draw_maps(3, 5, 4, 6)], loss_named(name, 24)
    expected = fm.fa_gradient(*maps, order=1 if name == "order 1" else 2)
    if name == "ffa":
        expected = fm.ffa_gradient(*maps, loss.keywords["probes"].numpy())
    last = {"memory_format": torch.channels_last}
    for student, teacher in [
        [torch.from_numpy(m).contiguous(**last) for m in maps],
        [torch.from_numpy(np.ascontiguousarray(m.swapaxes(2, 3))).mT for m in maps],
    ]:
        student.requires_grad_()
        loss(student, teacher).backward()
        np.testing.assert_allclose(student.grad.numpy(), expected, atol=1e-14)
        assert student.grad.is_contiguous(**last) == student.is_contiguous(**last)


@pytest.mark.parametrize("side", [2, 4])
@pytest.mark.parametrize("form", ["gram", "direct", "projected, paper"])
@pytest.mark.parametrize("static", [False, True])
def test_compiled_operators_tell_the_shapes_of_what_they_return(form, side, static):
    maps = [*torch.randn(2, 2, 3, side, side, generator=torch.Generator().manual_seed(0))]
    if form.startswith("projected"):
        maps.append(torch.ones(side**2, 3))
    operator = torch.ops.faqd.affinity_values.default
    torch.library.opcheck(operator, (maps, form, static), test_utils="test_faketensor")


# torch.compile itself makes an instance of the autograd function, which torch deprecates.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sizes", ["fixed", "open"])
def test_losses_compile_without_a_graph_break(static, name, sizes, monkeypatch):
    monkeypatch.setattr(affinity, "is_static", lambda _: static)
    torch.compiler.reset()
    student, teacher = draw_maps(2, 3, 4, 4, dtype=torch.float32)
    loss = partial(loss_named(name, 16), check=False)
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    results = []
    for call in (loss, compiled):
        maps = student.clone().requires_grad_()
        if sizes == "open":  # as torch does by itself with maps of many sizes
            torch._dynamo.maybe_mark_dynamic(maps, (2, 3))
        value = call(maps, teacher)
        value.backward()
        results.append((value.detach(), maps.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
