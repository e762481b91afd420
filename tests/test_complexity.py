"""Growth along N, C and k: counts without tolerance, memory, and the fitter on known power laws."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import faqd_math as fm
from analysis.studies import complexity
from analysis.studies.complexity import MEMORY, WORK, Sizes, Sweep, loss_call, measure
from analysis.studies.power_law import fit_exponent

SIZES = (64, 256, 1024, 4096)


def name_of(sweep):
    return f"{sweep.path} along {sweep.along}"


def noisy_rounds(rng, exponent, rounds):
    """Power laws with heavy-tailed noise and a factor common to each round."""
    logs = exponent * np.log(SIZES) + rng.standard_normal((rounds, 1))
    return np.exp(logs + 0.1 * rng.standard_t(3, (rounds, len(SIZES))))


def check_coverage(fit):
    """Of 9 slopes the 2nd and the 8th: they hold the median but for 2·10 of 2⁹ patterns of signs.

    Chance makes a true confidence fail with probability 1e-6.
    """
    rng = np.random.default_rng(9)
    fits = [(slope, fit(SIZES, noisy_rounds(rng, slope, 9))) for slope in (0, 1, 2) * 700]
    covered = sum(found.low <= slope <= found.high for slope, found in fits)
    p_value = stats.binomtest(covered, len(fits), 1 - 20 / 2**9).pvalue
    if p_value < 1e-6:
        raise AssertionError(f"{covered} of {len(fits)} intervals hold the slope: p = {p_value}")


def test_intervals_hold_the_slope_as_often_as_stated_whatever_the_noise():
    check_coverage(fit_exponent)


def test_shifted_intervals_are_caught():
    with pytest.raises(AssertionError, match="intervals hold the slope"):
        check_coverage(lambda x, y: fit_exponent(x, y * np.array(x) ** 0.1))


def test_a_few_slow_rounds_do_not_move_the_exponent():
    measurements = np.tile(np.array(SIZES, dtype=float) ** 2, (9, 1))
    measurements[:3, -1] *= 100
    fitted = fit_exponent(SIZES, measurements)
    assert fitted.value == pytest.approx(2, rel=1e-12)
    assert fitted.high > 2.5  # and yet the interval shows them


def test_misfit_tells_an_overhead_from_a_power_law():
    overhead = np.tile(1000.0 + np.array(SIZES), (6, 1))
    fitted = fit_exponent(SIZES, overhead)
    assert fitted.value < 0.5
    assert fitted.misfit > 1.2
    assert fit_exponent(SIZES[-2:], overhead[:, -2:]).value > 0.65
    assert fit_exponent(SIZES, overhead - 1000).misfit == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize(
    ("sizes", "measurements", "message"),
    [
        ([1, 2, 4], np.ones((6, 2)), r"shape \(6, 2\) for 3 sizes"),
        ([1], np.ones((6, 1)), "one entry for each of 2 sizes or more"),
        ([1, 2], np.zeros((6, 2)), "positive rows"),
        ([1, 2], np.full((6, 2), np.nan), "positive rows"),
        ([1, 2], np.ones((5, 2)), "5 rounds came, of which no interval has confidence 0.95"),
    ],
)
def test_bad_measurements_are_named(sizes, measurements, message):
    with pytest.raises(ValueError, match=message):
        fit_exponent(sizes, measurements)


def check_counts(sweep):
    growth = measure("multiply-adds", "torch", sweep, rounds=6, rng=np.random.default_rng(0))
    stated = [fm.cost.multiply_adds(sweep.path, p.n, p.c, p.c, p.k) for p in sweep.points]
    np.testing.assert_array_equal(growth.medians, stated)
    for fitted in (growth.exponent, growth.whole):
        values = [fitted.value, fitted.low, fitted.high]
        # Rounding of logarithms and least squares.
        np.testing.assert_allclose(values, sweep.expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sweep", WORK, ids=name_of)
def test_counted_operations_grow_exactly_as_stated(sweep):
    """Every count equals §4, so the exponents do: N 2, 1, 1; C 1, 1, 2; k 1."""
    check_counts(sweep)


def test_sweeps_along_n_span_64_to_16384_pixels():
    for sweeps in (WORK, MEMORY):
        spans = {s.path: (s.sizes[0], s.sizes[-1]) for s in sweeps if s.along == "n"}
        assert spans == dict.fromkeys(("direct", "ffa", "gram"), (64, 16_384))


@pytest.mark.parametrize(("path", "instead"), [("gram", "direct"), ("ffa", "gram")])
def test_the_count_of_another_path_is_caught(path, instead, monkeypatch):
    def other_path(_, sizes, library, rng):
        return loss_call(instead, sizes, library, rng)

    monkeypatch.setattr(complexity, "loss_call", other_path)
    points = tuple(Sizes(n, 4) for n in (64, 128))
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        check_counts(Sweep(path, "n", points, 1))


# Up to 2,048 pixels here.
SMALL_MEMORY = [
    replace(sweep, points=tuple(point for point in sweep.points if point.n <= 2048))
    for sweep in MEMORY
]
# What §4 leaves out, the unit pixels, is in the peak: it shifts exponents by up to 0.052.
MEMORY_TOLERANCE = 0.08


def check_memory(sweep):
    growth = measure("bytes", "numpy", sweep, rounds=6, rng=np.random.default_rng(0))
    if not abs(growth.exponent.value - sweep.expected) <= MEMORY_TOLERANCE:
        raise AssertionError(f"memory grows with exponent {growth.exponent.value:.3f}")
    last = sweep.points[-1]
    stated = fm.cost.extra_bytes(sweep.path, last.n, last.c, last.c, last.k)
    if sweep.path == "gram" and sweep.along == "n":
        stated = 2 * 8 * last.n * last.c  # C² is nothing beside the unit pixels of both maps
    # Operands of a difference and squares stand beside what is stated, up to three times it, and
    # Gram's three products are held one after the other.
    if not stated / 2 <= growth.medians[-1] <= 4 * stated:
        raise AssertionError(f"{growth.medians[-1]:.3g} bytes at the peak, {stated:.3g} stated")


@pytest.mark.parametrize("sweep", SMALL_MEMORY, ids=name_of)
def test_memory_grows_as_stated(sweep):
    check_memory(sweep)


def test_memory_of_the_gap_is_caught_on_the_other_paths(monkeypatch):
    def direct(_, sizes, library, rng):
        return loss_call("direct", sizes, library, rng)

    monkeypatch.setattr(complexity, "loss_call", direct)
    for sweep in SMALL_MEMORY[1:3]:
        with pytest.raises(AssertionError, match="memory grows with exponent"):
            check_memory(sweep)


def test_timing_gives_one_row_for_each_round_and_repeats_the_short_calls():
    calls = {"short": 0, "long": 0}

    def call(name, steps):
        calls[name] += 1
        sum(range(steps))

    short, long = (lambda: call("short", 10)), (lambda: call("long", 2_000_000))
    measured = complexity.interleaved_seconds([short, long], 3)
    assert measured.shape == (3, 2)
    assert (measured >= 0).all()
    assert calls["long"] == 2 + 3  # it warms up and takes its turns
    assert calls["short"] > 100


def test_the_study_measures_every_sweep_and_its_table_shows_them(monkeypatch):
    small = tuple(replace(s, points=s.points[:2], fit_from=0) for s in WORK[1:3])
    monkeypatch.setattr(complexity, "WORK", small)
    monkeypatch.setattr(complexity, "MEMORY", small[:1])
    result = complexity.complexity(rng=np.random.default_rng(0), rounds=6)
    measured = [(g["quantity"], g["library"], g["sweep"]["path"]) for g in result["growths"]]
    assert measured == [
        ("multiply-adds", "torch", "ffa"),
        ("multiply-adds", "torch", "gram"),
        ("seconds", "numpy", "ffa"),
        ("seconds", "numpy", "gram"),
        ("seconds", "torch", "ffa"),
        ("seconds", "torch", "gram"),
        ("bytes", "numpy", "ffa"),
    ]
    counts = result["growths"][0]
    assert counts["medians"] == [fm.cost.multiply_adds("ffa", n, 64, 64) for n in (64, 128)]
    rows = complexity.exponents(json.loads(json.dumps(result)))
    assert [(row["path"], row["along"]) for row in rows[:2]] == [("ffa", "n"), ("gram", "n")]
    assert rows[0]["exponent"] == rows[0]["low"] == rows[0]["high"] == 1
