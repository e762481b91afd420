"""Bad input: one sentence that says what came, what is accepted and what to do."""

import numpy as np
import pytest

import faqd_math as fm

RNG = np.random.default_rng(0)
MAP = RNG.standard_normal((3, 4, 5))
BATCH = RNG.standard_normal((2, 3, 4, 5))
PROBES = RNG.standard_normal((20, 2))


def with_entry(array, value):
    spoilt = array.copy()
    spoilt.flat[0] = value
    return spoilt


BAD_PAIRS = {
    "a list": (MAP.tolist(), MAP, TypeError, "student is a list; a NumPy array is accepted: conve"),
    "integers": (MAP, MAP.astype(int), TypeError, "teacher has dtype int64; float16, float32 and "),
    "complex": (MAP.astype(complex), MAP, TypeError, "student has dtype complex128"),
    "extended": (MAP.astype(np.longdouble), MAP, TypeError, "student has dtype .*; float16"),
    "NaN": (with_entry(MAP, np.nan), MAP, ValueError, "student holds 1 entries that are NaN or"),
    "infinity": (MAP, with_entry(MAP, np.inf), ValueError, "teacher holds 1 entries that are NaN"),
    "a matrix": (MAP[0], MAP, ValueError, r"student has shape \(4, 5\); \(C, H, W\) or \(B, C, H"),
    "no channels": (MAP[:0], MAP, ValueError, r"student has shape \(0, 4, 5\), which is empty"),
    "no samples": (BATCH[:0], BATCH, ValueError, r"\(0, 3, 4, 5\), which is empty; at least one"),
    "unequal batches": (BATCH, BATCH[:1], ValueError, "single maps or batches of the same length"),
    "batch against map": (BATCH[:1], MAP, ValueError, "pair each student map with its teacher's"),
}


@pytest.mark.parametrize(
    "function",
    [
        fm.fa_loss,
        fm.fa_gradient,
        fm.gap_spectrum,
        lambda s, t: fm.ffa_loss(s, t, PROBES),
        lambda s, t: fm.ffa_gradient(s, t, PROBES),
    ],
    ids=["fa_loss", "fa_gradient", "gap_spectrum", "ffa_loss", "ffa_gradient"],
)
@pytest.mark.parametrize(
    ("student", "teacher", "error", "message"), BAD_PAIRS.values(), ids=BAD_PAIRS
)
def test_bad_maps_are_refused_by_name(function, student, teacher, error, message):
    with pytest.raises(error, match=message) as caught:
        function(student, teacher)
    assert "\n" not in str(caught.value)


def test_affinity_judges_its_input_too():
    with pytest.raises(TypeError, match="features has dtype int64"):
        fm.affinity(np.ones((1, 2, 2), dtype=int))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_lower_precision_is_held_exactly(dtype):
    student, teacher = MAP.astype(dtype), MAP[::-1].astype(dtype)
    assert fm.fa_loss(student, teacher) == fm.fa_loss(student.astype(float), teacher.astype(float))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": 3}, "order is 3; accepted are 1, 2: choose one of them"),
        ({"method": "fast"}, "method is 'fast'; accepted are 'auto', 'direct', 'gram', 'spectrum'"),
        ({"reduction": "max"}, "reduction is 'max'; accepted are 'mean', 'sum', 'none'"),
        ({"order": 1, "method": "gram"}, "method is 'gram' with order 1, which only 'direct'"),
    ],
)
def test_unknown_options_are_refused_with_the_known_ones(options, message):
    with pytest.raises(ValueError, match=message):
        fm.fa_loss(MAP, MAP, **options)


def test_gradients_have_no_per_sample_reduction():
    with pytest.raises(ValueError, match="reduction is 'none'; accepted are 'mean', 'sum'"):
        fm.fa_gradient(MAP, MAP, reduction="none")


@pytest.mark.parametrize(
    ("probes", "error", "message"),
    [
        (PROBES[:19], ValueError, r"probes has shape \(19, 2\), but the student has 20 pixels"),
        (PROBES[:, :0], ValueError, r"probes has shape \(20, 0\); \(N, k\) or \(B, N, k\) with k"),
        (PROBES[:, 0], ValueError, r"probes has shape \(20,\); \(N, k\) or"),
        (np.ones((3, 20, 2)), ValueError, r"in a batch of 2; \(20, k\) or \(2, 20, k\) is accept"),
        (np.ones((20, 2), dtype=int), TypeError, "probes has dtype int64"),
        (with_entry(PROBES, np.nan), ValueError, "probes holds 1 entries that are NaN"),
        (None, TypeError, "probes is a NoneType; a NumPy array is accepted"),
    ],
)
@pytest.mark.parametrize("function", [fm.ffa_loss, fm.ffa_gradient])
def test_probes_that_do_not_fit_are_refused(function, probes, error, message):
    with pytest.raises(error, match=message):
        function(BATCH, BATCH, probes)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"k": 0}, ValueError, "k is 0; an integer of at least 1 is accepted: choose a larger k"),
        ({"n": 2.0}, TypeError, "n is a float; an integer is accepted: pass n as an int"),
        ({"k": True}, TypeError, "k is a bool; an integer is accepted"),
        ({"law": "cauchy"}, ValueError, "law is 'cauchy'; accepted are 'gaussian', 'rademacher'"),
        ({"k": 10, "law": "orthogonal"}, ValueError, "k is 10, but orthogonal probes of 9 pixels"),
        ({"rng": 0}, TypeError, "rng is a int; a numpy.random.Generator is accepted: make one wit"),
        ({"rng": np.random}, TypeError, "rng is a module; a numpy.random.Generator is accepted"),
        ({"batch": 0}, ValueError, "batch is 0; an integer of at least 1"),
    ],
)
def test_bad_requests_for_probes_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        fm.sample_probes(**{"n": 9, "k": 2, "rng": RNG} | arguments)


@pytest.mark.parametrize(
    ("spectrum", "error", "message"),
    [
        (np.ones((2, 3)), ValueError, r"spectrum has shape \(2, 3\); a vector of the gap's eigenv"),
        (np.array([1]), TypeError, "spectrum has dtype int64"),
        (np.array([np.inf]), ValueError, "spectrum holds 1 entries"),
    ],
)
@pytest.mark.parametrize("function", [fm.effective_rank, fm.stable_rank])
def test_bad_spectra_are_refused(function, spectrum, error, message):
    with pytest.raises(error, match=message):
        function(spectrum)


@pytest.mark.parametrize("function", [fm.cost.multiply_adds, fm.cost.extra_bytes])
def test_cost_judges_its_counts(function):
    with pytest.raises(ValueError, match="path is 'fa'; accepted are 'direct', 'ffa', 'gram'"):
        function("fa", 16, 2, 2)
    with pytest.raises(ValueError, match="n is 0; an integer of at least 1"):
        function("gram", 0, 2, 2)
