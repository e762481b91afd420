"""The NumPy reference against naive loops (tests/oracles.py), over hundreds of shapes."""

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import batched

import faqd_math as fm
from faqd_math.features import resize_bilinear, unit_pixel_pair
from faqd_math.testing import feature_maps, feature_pairs, probes_for
from faqd_math.testing.properties import assert_close, loss_tolerance

ORDERS = st.sampled_from([1, 2])


def samples(student, teacher, probes=None):
    """Split a batch, or a single map, into the single maps that the oracle takes."""
    student, teacher = batched(student), batched(teacher)
    if probes is None:
        return list(zip(student, teacher, strict=True))
    shared = np.broadcast_to(probes, (len(student), *probes.shape[-2:]))
    return list(zip(student, teacher, shared, strict=True))


@given(feature_pairs())
def test_copies_of_one_sample_are_a_batch_like_any_other(pair):
    """Of both maps or of one, by `np.broadcast_to`: normalised once, to the same bits."""
    student, teacher = (m.reshape(-1, *m.shape[-3:])[0] for m in pair)
    copies = [np.broadcast_to(m, (3, *m.shape)) for m in (student, teacher)]
    written = [copy.copy() for copy in copies]
    for maps in (copies, [copies[0], written[1]], [written[0], copies[1]]):
        for actual, expected in zip(unit_pixel_pair(*maps), unit_pixel_pair(*written), strict=True):
            np.testing.assert_array_equal(actual, expected)


@given(feature_maps())
def test_affinity_equals_naive_cosines(features):
    expected = np.stack([oracles.affinity(f) for f in batched(features)]).reshape(
        fm.affinity(features).shape
    )
    assert_close(fm.affinity(features), expected, loss_tolerance(features, features), "affinity")


@given(feature_maps(leading=(2,)), st.integers(1, 7), st.integers(1, 7))
def test_resize_equals_naive_interpolation(features, height, width):
    expected = np.stack([oracles.resize(f, height, width) for f in features])
    # Four products of magnitudes at most max|F| and their sum, positions off by u·side.
    tolerance = 32 * np.finfo(float).eps * np.abs(features).max()
    assert_close(resize_bilinear(features, (height, width)), expected, tolerance, "resize")


@pytest.mark.parametrize("method", ["auto", "direct", "gram", "spectrum"])
@given(pair=feature_pairs())
def test_fa_order_2_equals_naive_loops_by_every_path(method, pair):
    expected = [oracles.fa(s, t) for s, t in samples(*pair)]
    actual = np.atleast_1d(fm.fa_loss(*pair, method=method, reduction="none"))
    assert_close(actual, expected, loss_tolerance(*pair), f"FA by {method}")
    assert (actual >= 0).all()


@given(feature_pairs())
def test_fa_order_1_equals_naive_loops(pair):
    expected = [oracles.fa(s, t, order=1) for s, t in samples(*pair)]
    actual = np.atleast_1d(fm.fa_loss(*pair, order=1, reduction="none"))
    assert_close(actual, expected, loss_tolerance(*pair), "FA of order 1")


@given(st.data(), feature_pairs(), ORDERS)
def test_ffa_equals_naive_loops(data, pair, order):
    probes = data.draw(probes_for(pair[0]))
    expected = [oracles.ffa(*sample, order=order) for sample in samples(*pair, probes)]
    actual = np.atleast_1d(fm.ffa_loss(*pair, probes, order=order, reduction="none"))
    # An entry of AZ sums N entries, each off by the tolerance, times |Z|² at most.
    tolerance = loss_tolerance(*pair) * (1 + (probes**2).sum())
    assert_close(actual, expected, tolerance, f"FFA of order {order}")


def signs_are_certain(pair, matrices):
    """Tell whether the signs that an order-1 subgradient takes are above rounding, or exact 0."""
    size = np.abs(matrices)
    return bool(((size == 0) | (size > 1e3 * loss_tolerance(*pair))).all())


@given(feature_pairs(), ORDERS)
def test_fa_gradient_equals_naive_chain_rule(pair, order):
    if order == 1:
        gaps = [oracles.gap(s, t) for s, t in samples(*pair)]
        # Diagonals carry no gradient; only off-diagonal signs matter.
        off_diagonal = [g - np.diag(np.diag(g)) for g in gaps]
        if not all(signs_are_certain(pair, g) for g in off_diagonal):
            return
    expected = np.stack([oracles.fa_gradient(s, t, order) for s, t in samples(*pair)])
    actual = fm.fa_gradient(*pair, order=order, reduction="sum").reshape(expected.shape)
    assert_gradients_close(actual, expected, pair, 1.0)


@given(st.data(), feature_pairs(), ORDERS)
def test_ffa_gradient_equals_naive_chain_rule(data, pair, order):
    probes = data.draw(probes_for(pair[0]))
    if order == 1:
        images = [oracles.gap(s, t) @ z for s, t, z in samples(*pair, probes)]
        if not all(signs_are_certain(pair, image) for image in images):
            return
    expected = np.stack([oracles.ffa_gradient(*s, order) for s in samples(*pair, probes)])
    actual = fm.ffa_gradient(*pair, probes, order=order, reduction="sum").reshape(expected.shape)
    assert_gradients_close(actual, expected, pair, 1 + (probes**2).sum())


def assert_gradients_close(actual, expected, pair, factor):
    """Compare ‖F_i‖·g_i, whose error does not depend on the pixel's size."""
    norms = np.linalg.norm(batched(pair[0]), axis=1, keepdims=True)
    tolerance = 4 * factor * loss_tolerance(*pair)
    assert_close(norms * actual, norms * expected, tolerance, "gradient")
    assert (actual[np.broadcast_to(norms == 0, actual.shape)] == 0).all()


@pytest.mark.parametrize("order", [1, 2])
def test_gradients_are_the_slopes_of_the_losses(order):
    rng = np.random.default_rng(7)
    student, teacher = rng.standard_normal((3, 4, 5, 5)), rng.standard_normal((3, 6, 4, 3))
    probes = fm.sample_probes(25, 3, rng=rng)
    direction, h = rng.standard_normal(student.shape), 1e-6
    for loss, gradient in [
        (fm.fa_loss, fm.fa_gradient),
        (
            lambda s, t, **o: fm.ffa_loss(s, t, probes, **o),
            lambda s, t, **o: fm.ffa_gradient(s, t, probes, **o),
        ),
    ]:
        rise = loss(student + h * direction, teacher, order=order)
        fall = loss(student - h * direction, teacher, order=order)
        expected = (gradient(student, teacher, order=order) * direction).sum()
        # Truncation h² of a function of size 1 and rounding u/h, with a margin of 100.
        assert (rise - fall) / (2 * h) == pytest.approx(expected, abs=1e-8)


@given(st.data(), feature_pairs(), st.sampled_from(["mean", "sum"]))
def test_reductions_combine_the_samples(data, pair, reduction):
    probes = data.draw(probes_for(pair[0]))
    combine = {"mean": np.mean, "sum": np.sum}[reduction]
    for loss in (fm.fa_loss, lambda *p, **o: fm.ffa_loss(*p, probes, **o)):
        each = loss(*pair, reduction="none")
        # One rounding per sample.
        assert loss(*pair, reduction=reduction) == pytest.approx(combine(each), rel=1e-14)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
def test_norms_neither_overflow_nor_underflow(scale):
    student, teacher = np.random.default_rng(3).standard_normal((2, 4, 3, 3))
    # Scaling by a number that is not a power of two rounds each entry once: cosines move by 4u.
    assert_close(
        fm.fa_loss(scale * student, teacher),
        fm.fa_loss(student, teacher),
        loss_tolerance(student, teacher),
        "extreme scale",
    )


@pytest.mark.parametrize("method", ["auto", "direct", "gram", "spectrum"])
def test_equal_affinities_give_rounding_and_nothing_negative(method):
    """What each path may err by where they differ is claims F1–F5."""
    student = np.random.default_rng(3).standard_normal((3, 4, 4))
    value = fm.fa_loss(student, -5 * student, method=method)
    assert 0 <= value <= (32 * np.finfo(float).eps if method == "gram" else 1e-28)
