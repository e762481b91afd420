"""Bad input: one sentence that says what came, what is accepted and what to do."""

import re

import numpy as np
import pytest

import faqd_math as fm
from faqd_math.released import training
from faqd_math.theory import planning

RNG = np.random.default_rng(0)
MAP = RNG.standard_normal((3, 4, 5))
BATCH = RNG.standard_normal((2, 3, 4, 5))
PROBES = RNG.standard_normal((20, 2))
ONE = np.ones(1)
NAMES = {"planning": planning, "training": training, **vars(fm)}


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
OF_MAPS = {
    "fa_loss": fm.fa_loss,
    "fa_gradient": fm.fa_gradient,
    "gap_spectrum": fm.gap_spectrum,
    "ffa_loss": lambda s, t: fm.ffa_loss(s, t, PROBES),
    "ffa_gradient": lambda s, t: fm.ffa_gradient(s, t, PROBES),
    "P8": lambda s, t: fm.moments.gradient_noise(s, t, 1),
    "P9": fm.order_one.ffa_mean,
    "released FA": fm.released.fa_loss,
    "released FFA": lambda s, t: fm.released.ffa_loss(s, t, PROBES),
}


@pytest.mark.parametrize("function", OF_MAPS.values(), ids=OF_MAPS)
@pytest.mark.parametrize(
    ("student", "teacher", "error", "message"), BAD_PAIRS.values(), ids=BAD_PAIRS
)
def test_bad_maps_are_refused_by_name(function, student, teacher, error, message):
    with pytest.raises(error, match=message) as caught:
        function(student, teacher)
    assert "\n" not in str(caught.value)


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
@pytest.mark.parametrize(
    "function",
    [fm.ffa_loss, fm.ffa_gradient, fm.released.ffa_loss, fm.order_one.fa_order_one_estimate],
)
def test_probes_that_do_not_fit_are_refused(function, probes, error, message):
    with pytest.raises(error, match=message):
        function(BATCH, BATCH, probes)


# By expression, the error and the beginning of a part of its message. Where the error is not
# named it is ValueError.
REFUSED = {
    "affinity(np.ones((1, 2, 2), dtype=int))": "TypeError: features has dtype int64",
    "fa_loss(MAP, MAP, order=3)": "order is 3; accepted are 1, 2: choose one of them",
    "fa_loss(MAP, MAP, method='fast')": "method is 'fast'; accepted are 'auto', 'direct', 'gram'",
    "fa_loss(MAP, MAP, reduction='max')": "reduction is 'max'; accepted are 'mean', 'sum', 'none'",
    "fa_loss(MAP, MAP, order=1, method='gram')": "method is 'gram' with order 1, which only 'dire",
    # Before any work:
    "fa_gradient('', '', reduction='none')": "reduction is 'none'; accepted are 'mean', 'sum'",
    "ffa_gradient('', '', '', reduction='none')": "reduction is 'none'; accepted are 'mean', 'sum'",
    "sample_probes(9, 0, rng=RNG)": "k is 0; an integer of at least 1 is accepted: choose a larger",
    "sample_probes(2.0, 2, rng=RNG)": "TypeError: n is a float; an integer is accepted: pass n as",
    "sample_probes(9, True, rng=RNG)": "TypeError: k is a bool; an integer is accepted",
    "sample_probes(9, 2, rng=RNG, law='cauchy')": "law is 'cauchy'; accepted are 'gaussian', 'rade",
    "sample_probes(9, 10, rng=RNG, law='orthogonal')": "k is 10, but orthogonal probes of 9 pixels",
    "sample_probes(9, 2, rng=0)": "TypeError: rng is a int; a numpy.random.Generator is accepted",
    "sample_probes(9, 2, rng=np.random)": "TypeError: rng is a module; a numpy.random.Generator is",
    "sample_probes(9, 2, rng=RNG, batch=0)": "batch is 0; an integer of at least 1",
    "effective_rank(np.ones((2, 3)))": "spectrum has shape (2, 3); a vector of the gap's eigenvalu",
    "stable_rank(np.array([1]))": "TypeError: spectrum has dtype int64",
    "stable_rank(np.array([np.inf]))": "spectrum holds 1 entries",
    "cost.multiply_adds('fa', 16, 2, 2)": "path is 'fa'; accepted are 'direct', 'ffa', 'gram'",
    "cost.extra_bytes('fa', 16, 2, 2)": "path is 'fa'; accepted are 'direct', 'ffa', 'gram'",
    "cost.multiply_adds('gram', 0, 2, 2)": "n is 0; an integer of at least 1",
    "cost.extra_bytes('gram', 0, 2, 2)": "n is 0; an integer of at least 1",
    "law.failure_probability([1.0], 1, 0.1)": "TypeError: spectrum is a list",
    "law.failure_probability(np.ones((2, 2)), 1, 0.1)": "take one sample's row of gap_spectrum",
    "law.failure_probability(ONE, 1.5, 0.1)": "TypeError: k is a float",
    "law.failure_probability(ONE, 1, 0.0)": "epsilon is 0",
    "law.failure_probability(ONE, 1, np.nan)": "epsilon is nan",
    "law.failure_probability(ONE, 1, 1, tail='x')": "tail is 'x'",
    "law.failure_probability(ONE, 1, np.array([0.1, -0.2]))": "epsilon is -0.2",
    "law.failure_probability(ONE, 1, np.array([1, 2]))": "TypeError: epsilon has dtype int64",
    "law.failure_probability(np.ones(3), 2**53, 0.1)": (
        "k is 9007199254740992 for 3 eigenvalues, whose product is above 2**53"
    ),
    "law.tail_probability(ONE, 1, np.inf)": "value is inf",
    "law.tail_probability(ONE, 1, 1, tail='both')": "tail is 'both'",
    "law.tail_probability(ONE, 1, np.ones((2, 2)))": (
        "value has shape (2, 2); a number or a vector of them is accepted: flatten it first"
    ),
    "law.probes_needed(ONE, 0.1, 0.0)": "delta is 0",
    "law.probes_needed(ONE, 1e-9, 0.05)": (
        "delta is 0.05, which even 9007199254740992 probes do not reach at this epsilon"
    ),
    "law.probes_needed(np.ones(5), 1e-200, 0.05)": "even 1125899906842624 probes do not reach",
    "bounds.tropp([1.0], 1, 0.1)": "TypeError: spectrum is a list",
    "bounds.chebyshev(ONE, 0, 0.1)": "k is 0",
    "bounds.chernoff(ONE, 1, -0.1)": "epsilon is -0.1",
    "bounds.chernoff(ONE, 1, 'x')": "TypeError: epsilon is a str",
    "bounds.cantelli(ONE, 1, 1, tail='left')": "tail is 'left'",
    "bounds.roosta_khorasani_ascher(ONE, 1, 1.1)": "this statement holds up to 1: lower epsilon",
    "bounds.avron_toledo(ONE, 1, 1.1)": "epsilon is 1.1; this statement holds up to 1",
    "bounds.rademacher(ONE, 1, 0.8)": "epsilon is 0.8; this statement holds up to 0.75",
    "bounds.probes_needed(bounds.tropp, ONE, 1, 1)": "delta is 1",
    "bounds.stable_rank_probes(ONE, 1, 0)": "delta is 0",
    "bounds.probes_needed(bounds.chebyshev, ONE, 1e-99, 1e-200)": (
        "delta is 1e-200, which even 9007199254740992 probes do not reach at this epsilon"
    ),
    "planning.typical_error(np.zeros(3), 15, 0.05)": "spectrum holds no eigenvalue other than 0",
    "planning.typical_error(ONE, 15, 2)": "delta is 2; a finite number above 0 and below 1",
    "planning.plan_features(MAP, MAP * (1 + 1e-16))": "student and teacher agree up to rounding",
    "moments.mean([1.0])": "TypeError: spectrum is a list",
    "moments.mean(np.array([1.0, -1e100]))": (
        "spectrum holds an eigenvalue of size 1e+100; those of a gap are at most its number of"
    ),
    "moments.variance(ONE, 0)": "k is 0",
    "moments.third_cumulant(ONE, 2.0)": "TypeError: k is a float",
    "moments.sphere_variance(np.ones(3), 1, 2)": "n is 2, but the spectrum has 3 non-zero eigenva",
    "moments.root_mean(ONE, -1)": "k is -1",
    "moments.rademacher_variance(MAP, MAP, 0)": "k is 0",
    "order_one.sample_cauchy_probes(4, 2, rng=RNG)": "k is 2; an integer of at least 3",
    "order_one.sample_cauchy_probes(4, 3, rng=0)": "TypeError: rng is a int",
    "order_one.fa_order_one_estimate(MAP, MAP, PROBES)": "the number of cauchy_probes is 2; an int",
    "order_one.fa_order_one_estimate(MAP, MAP, PROBES, reduction='max')": "reduction is 'max'",
    "order_one.row_relative_variance(2)": "k is 2",
    "order_one.ffa_variance(MAP, MAP, 0)": "k is 0",
    "order_one.concentration_bound(ONE, 4, 1, 0.0)": "deviation is 0",
    "order_one.concentration_bound(ONE, 4, 1, 0.1, tail='x')": "tail is 'x'",
    "estimators.sample_pixels(6, 9, rng=RNG)": "m is 9, of n = 6 pixels; 2 to n is accepted",
    "estimators.sampled_fa_loss(MAP, MAP, [0.0, 1.0])": (
        "TypeError: pixels has dtype float64; integers are accepted"
    ),
    "estimators.sampled_fa_loss(MAP, MAP, [0])": (
        "pixels has shape (1,); (m,) or (1, m) with m ≥ 2 is accepted"
    ),
    "estimators.sampled_fa_loss(MAP, MAP, [0, 0])": "pixels repeats an index or leaves 0 to 19",
    "estimators.sampled_fa_loss(MAP, MAP, [0, 20])": "pixels repeats an index or leaves 0 to 19",
    "estimators.sampled_fa_loss(MAP, MAP, [-1, 2])": "pixels repeats an index or leaves 0 to 19",
    "estimators.sampled_variance(MAP, MAP, 21)": "m is 21; one sample's map (C, H, W) of four pix",
    "estimators.deflated_probes(MAP, MAP, 3, sketch=3, rng=RNG)": (
        "sketch is 3 and k is 3; sketch < k ≤ N = 20"
    ),
    "released.fa_loss(BATCH, BATCH, 3)": "order is 3; accepted are 1, 2",
    "released.ffa_loss(BATCH, BATCH, PROBES, 0)": "order is 0; accepted are 1, 2",
    "released.ffa_loss(BATCH, BATCH, np.ones((2, 20, 1)))": (
        "probes has shape (2, 20, 1); the released FFA accepts (20, k), shared by the batch: pass "
        "one sample's probes."
    ),
    "training.parameter_groups({}, {}, script='half')": "script is 'half'; accepted are",
    "training.reseeded_probes(4, 2, rng=1, state={})": "TypeError: rng is a int",
    "quantize.project_weights([1.0], 2)": "TypeError: weights is a list; a NumPy array",
    "quantize.project_weights(np.arange(3), 2)": "TypeError: weights has dtype int64",
    "quantize.project_weights(np.nan * ONE, 2)": "weights holds 1 entries",
    "quantize.project_weights(ONE[:0], 2)": "weights has shape (0,), which is empty; at least one",
    "quantize.project_weights(ONE, 0)": "bits is 0; an integer of at least 1",
    "quantize.project_weights(ONE, 9)": "bits is 9; an integer from 1 to 8",
    "quantize.project_weights(ONE, 2.0)": "TypeError: bits is a float; an integer",
    "quantize.project_weights(ONE, True)": "TypeError: bits is a bool; an integer",
    "quantize.project_weights(ONE, 2, channel_axis=1)": (
        "channel_axis is 1, but weights has shape (1,); an axis of it is accepted"
    ),
    "quantize.project_weights(ONE, 2, channel_axis=-2)": "channel_axis is -2; an integer of at le",
    "quantize.project_weights(ONE, 2, channel_axis=True)": "TypeError: channel_axis is a bool; an ",
    "quantize.alternating_projection(ONE, 2, iterations=0)": "iterations is 0; an integer of at le",
    "quantize.alternating_projection(ONE, 2, iterations=1, initial_step=2.0)": (
        "initial_step is 2.0; a finite number above 0 and below 2 is accepted: choose a step that "
        "does not round every weight to 0, or None."
    ),
    "quantize.alternating_projection(ONE, 2, iterations=1, initial_step='1')": (
        "TypeError: initial_step is a str; a real number"
    ),
    "quantize.alternating_projection(ONE[:0], 2, iterations=1)": "which is empty; at least one wei",
    "quantize.alternating_projection(ONE, 9, iterations=1)": "bits is 9;",
    "quantize.quantize_activations([1.0], 2, 1.0)": "TypeError: x is a list; a NumPy array",
    "quantize.quantize_activations(np.inf * ONE, 2, 1.0)": "x holds 1 entries",
    "quantize.quantize_activations(ONE, 9, 1.0)": "bits is 9; an integer",
    "quantize.quantize_activations(ONE, 2, 0.0)": (
        "step is 0.0; a finite number above 0 and below 7.02224e+305 is accepted: pass a positive α"
    ),
    "quantize.activation_derivatives(ONE, 2, None)": "TypeError: step is a NoneType; a real",
    "quantize.activation_derivatives(ONE, 2, np.nan)": "step is nan; a finite",
}


@pytest.mark.parametrize("expression", REFUSED)
def test_bad_input_is_named(expression):
    kind, separator, message = REFUSED[expression].partition("Error: ")
    error = {"Type": TypeError, "": ValueError}[kind if separator else ""]
    with pytest.raises(error, match=re.escape(message or REFUSED[expression])) as caught:
        eval(expression, NAMES | globals())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_lower_precision_is_held_exactly(dtype):
    student, teacher = MAP.astype(dtype), MAP[::-1].astype(dtype)
    assert fm.fa_loss(student, teacher) == fm.fa_loss(student.astype(float), teacher.astype(float))
