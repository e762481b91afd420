"""FA, FFA and their moments, law and cost as other people's packages compute them.

gx2 and partial fractions by mpmath stand beside the exact law in tests/test_law.py; 50-digit
values beside the losses in tests/test_extended.py and tests/test_torch_losses_precision.py.

PyLops and curvlinops draw from the global generators: here they are handed the tests' own draws.
"""

import warnings
from dataclasses import replace

import numpy as np
import pylops
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import faqd_math as fm
from faqd_math.testing import assert_mean, assert_variance
from faqd_math.theory import moments
from faqd_train.losses import affinity as losses
from faqd_train.losses import autograd, forms

with warnings.catch_warnings():
    # linear_operator, which curvlinops imports, compiles a solver in a way that torch has retired.
    warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated")
    import curvlinops

SIDE, CHANNELS = 6, 3
N = SIDE**2
STUDENT, TEACHER = np.random.default_rng(0).standard_normal((2, CHANNELS, SIDE, SIDE))
X, Y = ((f / np.linalg.norm(f, axis=0)).reshape(CHANNELS, N) for f in (STUDENT, TEACHER))
SPECTRUM = fm.gap_spectrum(STUDENT, TEACHER)
REPLICATIONS = 2000


class Gap(pylops.LinearOperator):
    """A as PyLops wants it: only its product with a vector, Xᵀ(Xz) − Yᵀ(Yz)."""

    def __init__(self, x=X, y=Y):
        self.x, self.y = x, y
        super().__init__(dtype=x.dtype, shape=(x.shape[1], x.shape[1]))

    def _matvec(self, z):
        return self.x.T @ (self.x @ z) - self.y.T @ (self.y @ z)

    _rmatvec = _matvec


class TorchGap:
    """A as curvlinops' estimator uses it: a square thing that multiplies."""

    shape, device, dtype = (N, N), torch.device("cpu"), torch.float64

    def __matmul__(self, z):
        x, y = torch.from_numpy(X), torch.from_numpy(Y)
        return x.T @ (x @ z) - y.T @ (y @ z)


def hand_out(monkeypatch, probes):
    """Let the packages' samplers return these columns, in turn."""
    columns = iter(probes.T.copy())

    def take(n, k):
        drawn = [next(columns) for _ in range(k)]
        assert drawn[0].shape == (n,)
        return np.stack(drawn, axis=1)

    monkeypatch.setattr("numpy.random.randn", take)
    monkeypatch.setattr("numpy.random.binomial", lambda _n, _p, size: (take(*size) + 1) / 2)
    monkeypatch.setattr(
        "curvlinops.sampling.randn", lambda n, **_: torch.from_numpy(take(n, 1)[:, 0])
    )


def by_pylops(k, sampler="gaussian"):
    """μ = tr A² as PyLops estimates it."""
    return pylops.utils.estimators.trace_hutchinson(Gap() ** 2, neval=k, sampler=sampler)


def by_curvlinops(k):
    """μ as curvlinops estimates it."""
    return curvlinops.hutchinson_squared_fro(TorchGap(), k, "normal").item()


def by_numpy_ffa(probes):
    return fm.ffa_loss(STUDENT, TEACHER, probes)


def by_torch_ffa(probes):
    maps = (torch.from_numpy(maps) for maps in (STUDENT, TEACHER))
    return losses.ffa_loss(*maps, probes=torch.from_numpy(probes)).item()


def check_same_probes(second_opinion, ffa, probes, monkeypatch):
    """One computation of ‖AZ‖² in another order of its sums: some N roundings apart."""
    hand_out(monkeypatch, probes)
    expected = second_opinion(probes.shape[1]) / N**2
    np.testing.assert_allclose(ffa(probes), expected, rtol=1e-12)


@pytest.mark.parametrize("ffa", [by_numpy_ffa, by_torch_ffa])
@pytest.mark.parametrize("second_opinion", [by_pylops, by_curvlinops])
def test_the_same_probes_give_the_same_estimate(second_opinion, ffa, monkeypatch):
    probes = fm.sample_probes(N, 15, rng=np.random.default_rng(1))
    check_same_probes(second_opinion, ffa, probes, monkeypatch)


@pytest.mark.parametrize("factor", [1.001, (N - 1) / N, 15 / 14])
def test_a_wrong_factor_differs_from_the_second_opinions(factor, monkeypatch):
    probes = fm.sample_probes(N, 15, rng=np.random.default_rng(1))
    for second_opinion in (by_pylops, by_curvlinops):
        with pytest.raises(AssertionError, match="Not equal to tolerance"):
            check_same_probes(
                second_opinion, lambda z: factor * by_numpy_ffa(z), probes, monkeypatch
            )


def draws_of(second_opinion, k, law_of_probes, monkeypatch):
    """Independent estimates of μ, one for each replication."""
    rng = np.random.default_rng(2)
    probes = fm.sample_probes(N, k * REPLICATIONS, law=law_of_probes, rng=rng)
    hand_out(monkeypatch, probes)
    return np.array([second_opinion() for _ in range(REPLICATIONS)])


# What is drawn, by whom, and the variance that the moments state: P2 or P3.
ESTIMATORS = {
    "PyLops, gaussian": (lambda: by_pylops(4), "gaussian", moments.variance(SPECTRUM, 4)),
    "PyLops, Rademacher": (
        lambda: by_pylops(4, "rademacher"),
        "rademacher",
        moments.rademacher_variance(STUDENT, TEACHER, 4),
    ),
    "curvlinops, gaussian": (
        lambda: by_curvlinops(4),
        "gaussian",
        moments.variance(SPECTRUM, 4),
    ),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_others_estimates_have_the_mean_and_variance_that_is_stated(name, monkeypatch):
    """True moments fail with probability 2e-6; a variance off by a quarter is seen."""
    estimate, law_of_probes, variance = ESTIMATORS[name]
    mu = N**2 * fm.fa_loss(STUDENT, TEACHER)
    samples = draws_of(estimate, 4, law_of_probes, monkeypatch)
    assert_mean(samples, mu)
    assert_variance(samples, variance)
    for wrong in (0.75, 1.33):
        with pytest.raises(AssertionError, match="the variance over replications"):
            assert_variance(samples, wrong * variance)
    with pytest.raises(AssertionError, match="the mean over replications"):
        assert_mean(samples, 1.1 * mu)


def by_hutchpp(products):
    return pylops.utils.estimators.trace_hutchpp(Gap() ** 2, neval=products, sampler="gaussian")


@pytest.mark.parametrize("method", ["direct", "gram", "spectrum"])
def test_hutchpp_is_exact_from_as_many_probes_as_the_gap_has_rank(method, monkeypatch):
    """Its sketch of C_s + C_t = 6 columns spans the range of A (I6), and leaves nothing to chance.

    With one column fewer something is left.
    """
    exact = fm.fa_loss(STUDENT, TEACHER, method=method)
    probes = fm.sample_probes(N, 4 * CHANNELS, rng=np.random.default_rng(3))
    hand_out(monkeypatch, probes)
    np.testing.assert_allclose(by_hutchpp(3 * 2 * CHANNELS) / N**2, exact, rtol=1e-12)
    hand_out(monkeypatch, probes)
    assert abs(by_hutchpp(3 * (2 * CHANNELS - 1)) / N**2 / exact - 1) > 1e-6


def products(loss):
    """Multiply-adds of the matrix products in one call: torch counts two operations each."""
    with FlopCounterMode(display=False) as counter:
        loss()
    return counter.get_total_flops() / 2


def gradient_multiply_adds(path, n, cs, ct, k):
    """Return what the gradient takes beyond the value's products, per sample (I8, I9).

    XA from the gap, which is formed again unless it is smaller than the maps; [XZ, XV][V, Z]ᵀ with
    V = AZ, both products of 2k columns; (XXᵀ)X − (XYᵀ)Y.
    """
    gap = n * n * (cs + ct) if n > cs + ct else 0
    return {"direct": gap + n * n * cs, "ffa": 4 * n * k * cs, "gram": n * cs * (cs + ct)}[path]


BATCH = 2


def torch_loss(path, n, cs, ct, k, *, with_gradient):
    """Return the call of a path of the torch losses on a random batch of flat maps."""
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(BATCH, cs, 1, n, generator=generator, requires_grad=with_gradient)
    teacher = torch.randn(BATCH, ct, 1, n, generator=generator)
    if path == "ffa":
        return lambda: losses.ffa_loss(student, teacher, k=k, generator=generator)
    return lambda: losses.fa_loss(student, teacher, method=path)


@pytest.mark.parametrize("sizes", [(64, 3, 5, 4), (100, 8, 2, 15), (25, 16, 16, 1)])
@pytest.mark.parametrize("path", ["direct", "ffa", "gram"])
def test_torch_counts_the_multiply_adds_that_are_stated(path, sizes):
    """No tolerance. Sums and squares of entries are not products of matrices, and uncounted."""
    stated = fm.cost.multiply_adds(path, *sizes)
    assert products(torch_loss(path, *sizes, with_gradient=False)) == BATCH * stated
    loss = torch_loss(path, *sizes, with_gradient=True)
    assert products(loss) == BATCH * stated
    assert products(loss().backward) == BATCH * gradient_multiply_adds(path, *sizes)


def test_a_path_that_forms_the_gap_is_counted_as_one(monkeypatch):
    """Plant (XᵀX − YᵀY)Z in the place of Xᵀ(XZ) − Yᵀ(YZ)."""
    sizes = (64, 3, 5, 4)

    def whole_gap(pieces):
        ((x, y, z),) = pieces  # x and z are tensors, y is a function
        az = (x.mT @ x - y().mT @ y()) @ z
        values = az.square().sum(dim=(1, 2))
        return forms.Measured(values, values >= 0, az)

    planted = replace(autograd.FORMS["projected, paper"], measure=whole_gap)
    monkeypatch.setitem(autograd.FORMS, "projected, paper", planted)
    ffa = products(torch_loss("ffa", *sizes, with_gradient=False))
    assert ffa == BATCH * (fm.cost.multiply_adds("direct", *sizes) + 64 * 64 * 4)
    assert ffa > 10 * BATCH * fm.cost.multiply_adds("ffa", *sizes)
