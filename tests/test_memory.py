"""What forms no N×N matrix, and which exact path "auto" takes (§4).

NumPy reports its arrays to tracemalloc; workspaces inside LAPACK stay unseen. The memory of the
torch losses is in tests/test_torch_autograd.py.
"""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import faqd_math as fm
from analysis.studies.complexity import peak_bytes
from faqd_math import losses
from faqd_math.theory import moments, order_one
from faqd_train.losses.affinity import fa_loss as torch_fa_loss

SIDE, CHANNELS, K = 64, 3, 5
N = SIDE**2
MATRIX = 8 * N**2  # bytes of an N×N matrix: 134 MB
# A dozen arrays of the largest size that O(NkC) work needs, N×2C or N×k.
LEAN = 12 * 8 * N * 2 * CHANNELS
# Seven arrays of a block of rows of an N×N matrix: below half of it, at this N.
IN_BLOCKS = 7 * 8 * N * moments._BLOCK

RNG = np.random.default_rng(0)
STUDENT, TEACHER = RNG.standard_normal((2, CHANNELS, SIDE, SIDE))
PROBES = fm.sample_probes(N, K, rng=RNG)
CAUCHY = order_one.sample_cauchy_probes(N, K, rng=RNG)

# What each call may hold at its peak.
CALLS = {
    "fa_loss": (lambda: fm.fa_loss(STUDENT, TEACHER), LEAN),
    "fa_loss, gram": (lambda: fm.fa_loss(STUDENT, TEACHER, method="gram"), LEAN),
    "fa_loss, spectrum": (lambda: fm.fa_loss(STUDENT, TEACHER, method="spectrum"), LEAN),
    "fa_loss, cancelling": (lambda: fm.fa_loss(STUDENT, 2 * STUDENT), LEAN),
    "fa_gradient": (lambda: fm.fa_gradient(STUDENT, TEACHER), LEAN),
    "ffa_loss": (lambda: fm.ffa_loss(STUDENT, TEACHER, PROBES), LEAN),
    "ffa_loss, order 1": (lambda: fm.ffa_loss(STUDENT, TEACHER, PROBES, order=1), LEAN),
    "ffa_gradient": (lambda: fm.ffa_gradient(STUDENT, TEACHER, PROBES), LEAN),
    "ffa_gradient, order 1": (lambda: fm.ffa_gradient(STUDENT, TEACHER, PROBES, order=1), LEAN),
    "gap_spectrum": (lambda: fm.gap_spectrum(STUDENT, TEACHER), LEAN),
    "P3": (lambda: moments.rademacher_variance(STUDENT, TEACHER, K), LEAN),
    "P6, shared": (lambda: moments.shared_probes_variance(STUDENT, TEACHER, K), LEAN),
    "P6, independent": (lambda: moments.independent_probes_variance(STUDENT, TEACHER, K), LEAN),
    "P8": (lambda: moments.gradient_noise(STUDENT, TEACHER, K), LEAN),
    "P8, reference": (lambda: moments.gradient_squared_norm(STUDENT, TEACHER), LEAN),
    "P9": (lambda: order_one.ffa_mean(STUDENT, TEACHER), LEAN),
    "P10": (lambda: order_one.ffa_variance(STUDENT, TEACHER, K), IN_BLOCKS),
    "P11": (lambda: order_one.fa_order_one_estimate(STUDENT, TEACHER, CAUCHY), LEAN),
    "P12": (lambda: moments.projected_loss(TEACHER, K), IN_BLOCKS),
    "P12, channels": (lambda: moments.channels_needed(TEACHER, 0.1), IN_BLOCKS),
}


def check_lean(name):
    call, limit = CALLS[name]
    peak = peak_bytes(call)
    if peak > limit:
        raise AssertionError(f"{name} holds {peak} bytes at its peak, above {limit}")


def with_whole_gap(x, y, z):
    """Plant the product with the gap formed first."""
    return (x.mT @ x - y.mT @ y) @ z


def whole_gram(x, y):
    """Plant the sizes of the affinities, N×N, in the place of the Gram identity."""
    s, t = x.mT @ x, y.mT @ y
    return losses.squared_norm(s - t), losses.squared_norm(s) + losses.squared_norm(t)


def whole_small_gap(x, y):
    """Plant the N×N problem in the place of the (C_s+C_t)-sized one."""
    gap = x.mT @ x - y.mT @ y
    return gap[..., : 2 * CHANNELS, : 2 * CHANNELS]


def whole_gradient(x, y, order):
    """Plant XA with the gap formed first."""
    assert order == 2
    return 4 / N**2 * x @ (x.mT @ x - y.mT @ y)


def whole_gap_factor(x, y):
    """Plant A itself, whose square is A² too."""
    return x.mT @ x - y.mT @ y


# Where an N×N version is planted, and what must notice.
PLANTED = {
    "faqd_math.losses.apply_gap": (with_whole_gap, ["ffa_loss", "ffa_loss, order 1"]),
    "faqd_math.gradients.apply_gap": (with_whole_gap, ["ffa_gradient", "ffa_gradient, order 1"]),
    "faqd_math.theory.moments.apply_gap": (with_whole_gap, ["P8", "P8, reference"]),
    "faqd_math.theory.order_one.apply_gap": (with_whole_gap, ["P11"]),
    "faqd_math.losses._gram_terms": (whole_gram, ["fa_loss", "fa_loss, gram"]),
    "faqd_math.losses.small_gap": (whole_small_gap, ["fa_loss, spectrum", "fa_loss, cancelling"]),
    "faqd_math.spectrum.small_gap": (whole_small_gap, ["gap_spectrum"]),
    "faqd_math.gradients.unit_fa_gradient": (whole_gradient, ["fa_gradient"]),
    "faqd_math.theory.order_one.gap_factor": (whole_gap_factor, ["P9"]),
    "faqd_math.theory.moments._BLOCK": (N, ["P12", "P12, channels", "P10"]),
    "faqd_math.losses.cheapest_exact": (lambda *_: "direct", ["fa_loss"]),
}


@pytest.mark.parametrize("name", CALLS)
def test_no_affinity_matrix_is_formed(name):
    assert CALLS[name][1] < MATRIX / 2
    check_lean(name)


@pytest.mark.parametrize("target", PLANTED)
def test_an_affinity_matrix_is_seen(target, monkeypatch):
    wrong, noticed_by = PLANTED[target]
    monkeypatch.setattr(target, wrong)
    for name in noticed_by:
        with pytest.raises(AssertionError, match="bytes at its peak"):
            check_lean(name)


# Gram's multiply-adds per pixel, C_s² + C_t² + C_sC_t, are at most direct's, N(C_s + C_t), from
# this many pixels on: 3/2 ≤ N, 48/8, 52/8 and 13/4 (§4).
FIRST_PIXELS_FOR_GRAM = [((1, 1), 2), ((4, 4), 6), ((2, 6), 7), ((6, 2), 7), ((1, 3), 4)]


def numpy_path(student, teacher, monkeypatch):
    """Name the path that a call takes, and takes again where digits cancel."""
    taken = set()
    for name in ("_gram_terms", "direct_total"):
        original = getattr(losses, name)

        def spy(*args, name=name, original=original, **options):
            taken.add(name)
            return original(*args, **options)

        monkeypatch.setattr(losses, name, spy)
    fm.fa_loss(student, teacher)
    monkeypatch.undo()
    return {"_gram_terms": "gram", "direct_total": "direct"}[taken.pop()]


def torch_path(student, teacher, _monkeypatch):
    """Name the path whose multiply-adds a call has; meta tensors have no digits to lose."""
    maps = [torch.from_numpy(m).to("meta") for m in (student, teacher)]
    counts = {}
    for method in ("gram", "direct", "auto"):
        with FlopCounterMode(display=False) as counter:
            torch_fa_loss(*maps, method=method, check=False)
        counts[method] = counter.get_total_flops()
    assert counts["auto"] == min(counts.values())
    return "gram" if counts["auto"] == counts["gram"] else "direct"


@pytest.mark.parametrize("path", [numpy_path, torch_path])
@pytest.mark.parametrize(("channels", "first"), FIRST_PIXELS_FOR_GRAM)
def test_auto_takes_the_path_of_fewer_multiply_adds(path, channels, first, monkeypatch):
    for pixels in range(1, 10):
        student, teacher = (RNG.standard_normal((c, 1, pixels)) for c in channels)
        assert path(student, teacher, monkeypatch) == ("gram" if pixels >= first else "direct")
