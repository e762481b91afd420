"""I1–I9 as properties of the NumPy reference, whose gradients test_reference.py compares, too."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import single_pairs

import faqd_math as fm
from faqd_math.testing import feature_maps, feature_pairs, feature_triples, generators, probes_for
from faqd_math.testing import properties as identity

ORDERS = [1, 2]


def fa(order, method="auto"):
    return lambda student, teacher: fm.fa_loss(student, teacher, order=order, method=method)


def ffa(order):
    return lambda student, teacher, probes: fm.ffa_loss(student, teacher, probes, order=order)


@given(feature_maps(leading=()))
def test_i1_affinity_is_a_cosine_matrix(features):
    identity.affinity_is_a_cosine_matrix(fm.affinity, features)


@pytest.mark.parametrize("order", ORDERS)
@given(pair=single_pairs, rng=generators())
def test_i2_loss_is_invariant(order, pair, rng):
    identity.loss_is_invariant(fa(order), *pair, rng)


@pytest.mark.parametrize("order", ORDERS)
@given(pair=single_pairs)
def test_i3_loss_is_bounded(order, pair):
    identity.loss_is_bounded(fa(order), *pair, order=order)


@pytest.mark.parametrize("order", ORDERS)
@given(maps=feature_triples())
def test_i3_loss_is_a_pseudometric(order, maps):
    identity.loss_is_a_pseudometric(fa(order), *maps, order=order)


@pytest.mark.parametrize("order", ORDERS)
@given(pair=single_pairs)
def test_i3_loss_vanishes_only_where_affinities_agree(order, pair):
    identity.loss_sees_every_entry(fa(order), fm.affinity, *pair, order=order)


@pytest.mark.parametrize("method", ["direct", "gram", "spectrum"])
@given(pair=single_pairs)
def test_i4_i5_direct_gram_and_spectrum_agree(method, pair):
    identity.loss_is_spectrum_norm(fa(2, method), fm.gap_spectrum, *pair)


@given(feature_pairs())
def test_i5_spectrum_of_a_batch_is_each_samples_spectrum(pair):
    spectra = np.atleast_2d(fm.gap_spectrum(*pair))
    values = np.atleast_1d(fm.fa_loss(*pair, reduction="none"))
    n = pair[0].shape[-2] * pair[0].shape[-1]
    tolerance = identity.loss_tolerance(*pair)
    identity.assert_close((spectra**2).sum(axis=1) / n**2, values, tolerance, "Σλ²/N²")
    assert (np.diff(np.abs(spectra), axis=1) <= 0).all()


@given(single_pairs)
def test_i6_spectrum_has_rank_and_trace(pair):
    identity.spectrum_has_rank_and_trace(fm.gap_spectrum, *pair)


@given(single_pairs)
def test_i6_spectrum_equals_the_n_by_n_problem(pair):
    gap = fm.affinity(pair[0]) - fm.affinity(pair[1])
    full = np.linalg.eigvalsh(gap)
    small = fm.gap_spectrum(*pair)
    padded = np.sort(np.concatenate([small, np.zeros(len(gap) - len(small))]))
    tolerance = len(gap) * identity.loss_tolerance(*pair)
    identity.assert_close(padded, full, tolerance, "eigenvalues")


@pytest.mark.parametrize("order", ORDERS)
@given(data=st.data(), pair=single_pairs, rng=generators())
def test_i7_ffa_obeys_its_probes(order, data, pair, rng):
    n = pair[0][0].size
    probes = data.draw(probes_for(pair[0]))
    orthogonal = fm.sample_probes(n, n, law="orthogonal", rng=rng)
    identity.fast_loss_obeys_its_probes(
        ffa(order), fa(order), *pair, probes, orthogonal, order=order
    )


@pytest.mark.parametrize("order", ORDERS)
@given(data=st.data(), pair=single_pairs)
def test_i8_i9_gradients_are_tangent(order, data, pair):
    probes = data.draw(probes_for(pair[0]))
    identity.gradient_is_tangent(lambda s, t: fm.fa_gradient(s, t, order=order), *pair)
    identity.gradient_is_tangent(lambda s, t: fm.ffa_gradient(s, t, probes, order=order), *pair)
