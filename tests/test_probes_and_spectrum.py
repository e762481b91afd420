"""Probe laws, the ranks of a spectrum, and bytes; what a path costs is claims C1–C6."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import faqd_math as fm
from faqd_math.probes import PROBE_LAWS
from faqd_math.testing import assert_mean

N, K, REPLICATIONS = 6, 3, 4000


@pytest.mark.parametrize("law", PROBE_LAWS)
def test_probes_are_isotropic(law):
    """E zzᵀ = I: every entry of ZZᵀ/k, tested at a family-wise false-alarm rate of 1e-6."""
    z = fm.sample_probes(N, K, law=law, rng=np.random.default_rng(1), batch=REPLICATIONS)
    products = z @ z.mT / K
    for i in range(N):
        for j in range(N):
            assert_mean(products[:, i, j], float(i == j), false_alarm=1e-6 / N**2)


def test_laws_have_their_own_shape():
    def draw(law):
        return fm.sample_probes(N, N, law=law, rng=np.random.default_rng(2), batch=50)

    assert set(np.unique(draw("rademacher"))) == {-1.0, 1.0}
    # One division and N roundings in the norm.
    np.testing.assert_allclose(np.linalg.norm(draw("sphere"), axis=1), np.sqrt(N), rtol=1e-14)
    z = draw("orthogonal")
    np.testing.assert_allclose(z.mT @ z, N * np.broadcast_to(np.eye(N), z.shape), atol=1e-13)


def test_orthogonal_probes_are_haar_distributed():
    """Under Haar measure the diagonal has mean 0; QR without the sign fix makes it negative."""
    z = fm.sample_probes(4, 4, law="orthogonal", rng=np.random.default_rng(3), batch=REPLICATIONS)
    for i in range(4):
        assert_mean(z[:, i, i], 0.0, false_alarm=1e-6 / 4)


def test_each_call_draws_fresh_probes_and_a_seed_repeats_them():
    rng = np.random.default_rng(4)
    first, second = fm.sample_probes(5, 2, rng=rng), fm.sample_probes(5, 2, rng=rng)
    assert not np.array_equal(first, second)
    again = fm.sample_probes(5, 2, rng=np.random.default_rng(4))
    assert np.array_equal(first, again)


@given(npst.arrays(float, st.integers(1, 8), elements=st.floats(-1e200, 1e200)))
def test_one_at_most_stable_rank_at_most_effective_rank_at_most_rank(spectrum):
    stable, effective = fm.stable_rank(spectrum), fm.effective_rank(spectrum)
    rank = np.count_nonzero(spectrum)
    slack = 1 + 16 * np.finfo(float).eps
    if rank == 0:
        assert stable == effective == 0
    else:
        assert 1 <= stable <= effective * slack
        assert effective <= rank * slack


@pytest.mark.parametrize("path", ["direct", "ffa", "gram"])
def test_extra_bytes_follow_the_arrays_of_each_path(path):
    n, cs, ct, k = 20, 3, 5, 4
    arrays = {
        "direct": [(n, n)],
        "ffa": [(n, k), (cs, k), (ct, k), (n, k)],
        "gram": [(cs, cs), (ct, ct), (cs, ct)],
    }[path]
    expected = sum(np.zeros(shape, np.float32).nbytes for shape in arrays)
    assert fm.cost.extra_bytes(path, n, cs, ct, k, itemsize=4) == expected
