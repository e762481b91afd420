"""Probe laws of the torch package: isotropy, exact structure, where and how they are drawn."""

import numpy as np
import pytest
import torch
from scipy import stats

from faqd_math.testing import assert_mean, assert_variance
from faqd_train.losses.probes import PROBE_LAWS, sample_probes

REPLICATIONS = 4000


def draw(n, k, law="gaussian", seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    return sample_probes(n, k, law=law, **{"generator": generator} | options)


def assert_isotropic(z, n, *, false_alarm=1e-6):
    """E zzᵀ = I within a sample, 0 across samples, from probes (replications, n, k).

    The first column speaks for all: the laws do not tell columns apart. Every entry of two n×n
    matrices is tested, each at its share of the false-alarm rate.
    """
    first = z[:, :, 0].numpy()
    other = np.roll(first, 1, axis=0)
    for i in range(n):
        for j in range(n):
            share = false_alarm / (2 * n * n)
            assert_mean(first[:, i] * first[:, j], float(i == j), false_alarm=share)
            assert_mean(first[:, i] * other[:, j], 0.0, false_alarm=share)


@pytest.mark.parametrize("law", PROBE_LAWS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_law_is_isotropic_and_independent_across_samples(law, dtype):
    z = draw(5, 3, law, batch=REPLICATIONS, dtype=dtype)
    assert z.dtype == dtype
    assert_isotropic(z.double(), 5)


@pytest.mark.parametrize(
    "wrong",
    [
        5**-0.5 * draw(5, 3, "sphere", batch=REPLICATIONS),
        1.1 * draw(5, 3, "sphere", batch=REPLICATIONS),
        draw(5, 3).expand(REPLICATIONS, -1, -1),
    ],
    ids=["unit radius", "another radius", "one matrix shared by the samples"],
)
def test_isotropy_check_catches(wrong):
    with pytest.raises(AssertionError, match="mean"):
        assert_isotropic(wrong, 5)


def test_gaussian_entries_are_standard_normal():
    entries = draw(REPLICATIONS, 1).flatten().numpy()
    assert stats.kstest(entries, "norm").pvalue > 1e-6
    assert stats.kstest(entries * 1.2, "norm").pvalue < 1e-6


def test_each_law_has_its_structure():
    assert set(draw(50, 20, "rademacher").unique().tolist()) == {-1.0, 1.0}
    norms = draw(7, 5, "sphere", batch=20).norm(dim=1)
    # A sum of 7 squares, a root, a division and a product.
    torch.testing.assert_close(norms, torch.full_like(norms, 7**0.5), rtol=8 * 2**-53, atol=0)
    for k in (1, 4, 9):
        z = draw(9, k, "orthogonal", batch=20)
        identity = 9 * torch.eye(k, dtype=z.dtype).expand(20, -1, -1)
        # Householder QR: orthogonal to a small multiple of nu, here times the length 9.
        torch.testing.assert_close(z.mT @ z, identity, rtol=0, atol=9 * 9 * 4 * 2**-53)


def test_orthogonal_probes_are_haar_distributed():
    """E tr Q = 0 and Var tr Q = 1 for Haar Q; LAPACK's Q without the sign fix has E tr Q < −1."""
    q = draw(3, 3, "orthogonal", batch=REPLICATIONS) / 3**0.5
    traces = q.diagonal(dim1=1, dim2=2).sum(dim=1).numpy()
    assert_mean(traces, 0.0)
    assert_variance(traces, 1.0)
    unsigned = torch.linalg.qr(draw(3, 3, batch=REPLICATIONS)).Q
    with pytest.raises(AssertionError, match="mean"):
        assert_mean(unsigned.diagonal(dim1=1, dim2=2).sum(dim=1).numpy(), 0.0)


@pytest.mark.parametrize("law", PROBE_LAWS)
def test_probes_repeat_with_the_seed_and_move_to_the_device(law):
    assert torch.equal(draw(6, 2, law), draw(6, 2, law))
    assert not torch.equal(draw(6, 2, law), draw(6, 2, law, seed=1))
    assert draw(6, 2, law, device="meta").device.type == "meta"


def test_counts_may_be_numpy_integers():
    assert torch.equal(draw(np.int64(6), np.uint8(2), batch=np.int32(3)), draw(6, 2, batch=3))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"generator": 0}, TypeError, r"generator is a int; a torch\.Generator is accepted"),
        ({"n": 0}, ValueError, "n is 0; an integer of at least 1"),
        ({"k": 0}, ValueError, "k is 0; an integer of at least 1"),
        ({"k": 2.0}, TypeError, "k is a float; an integer is accepted"),
        ({"k": True}, TypeError, "k is a bool; an integer is accepted"),
        ({"k": np.True_}, TypeError, "k is a bool; an integer is accepted"),
        ({"k": np.int64(0)}, ValueError, "k is 0; an integer of at least 1"),
        ({"batch": 0}, ValueError, "batch is 0; an integer of at least 1"),
        ({"law": "cauchy"}, ValueError, "law is 'cauchy'; accepted are 'gaussian'"),
        ({"law": "orthogonal", "k": 5}, ValueError, "orthogonal probes of 4 pixels allow k <= 4"),
        ({"dtype": torch.float16}, ValueError, r"dtype is torch\.float16; accepted are"),
    ],
)
def test_bad_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        draw(**{"n": 4, "k": 2} | options)
