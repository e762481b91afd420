"""The study of speed: exponents of known growth, a record of all parts, and the figure of it."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from analysis.records.store import Made, seal
from analysis.rendering.figures import style
from analysis.studies import speed_figure as figure
from analysis.studies.speed import STUDY, exponents, losses, speed, steps
from faqd_train.benchmark.growth import Growth
from faqd_train.benchmark.loss_paths import loss_paths
from faqd_train.benchmark.shapes import GROWTH, STAGES

mpl.use("Agg")


@pytest.mark.parametrize("power", [1, 2])
def test_exponents_are_those_of_the_growth(power):
    rng = np.random.default_rng(0)
    noise = np.exp(0.1 * rng.standard_normal((len(GROWTH), 20)))
    times = [(s.pixels**power * factors).tolist() for s, factors in zip(GROWTH, noise, strict=True)]
    growth = Growth(list(GROWTH), times, [s.pixels**power for s in GROWTH])
    fitted = exponents(growth)
    assert fitted["seconds"]["low"] <= power <= fitted["seconds"]["high"]
    # Slopes over log N of 256 … 50,176 with 10 % noise deviate by 0.02; the median of 20 by less.
    assert 0 < fitted["seconds"]["high"] - fitted["seconds"]["low"] < 0.05
    assert fitted["bytes"]["value"] == pytest.approx(power, abs=1e-12)


@pytest.fixture(scope="module")
def record():
    return seal("speed", speed(seed=1, quick=True), Made("of a test", seeds=[1]))


def test_the_record_holds_all_parts(record):
    assert set(record.result) >= STUDY.keys
    assert record.result["exponents"].keys() == {"seconds", "bytes"}
    assert record.result["step"]["ours"]["step"]["repetitions"] == 12  # six rows


def test_the_figure_shows_every_path_and_stage(record):
    rows = figure.rows(record.result)
    paths = {path.name for path in loss_paths(torch.Generator())}
    assert {row["path"] for row in rows} == paths
    assert len(rows) == len(paths) * (len(STAGES) + len(record.result["sweep"]))
    with style():
        drawn = figure.draw(record.result)
    above, below = drawn.axes
    assert {line.get_label() for line in above.lines} == {*paths, "limit of exact FA"}
    names = [label.get_text() for label in below.get_yticklabels()]
    assert names[0] == "CIFAR 2×16×16²"
    assert [name.split("×")[1] for name in names] == [str(stage.channels) for stage in STAGES]
    plt.close(drawn)


def test_the_tables_hold_every_path_and_both_steps(record):
    rows = losses(record.result)
    assert len(rows) == 6 * len(STAGES)
    released = next(row for row in rows if row["path"] == "released FA, direct")
    assert released["times as fast as released FA"] == 1
    first, second = steps(record.result)
    assert (first["step"], first["times as fast"], second["step"]) == ("released", 1, "ours")


def test_a_ratio_is_of_medians_with_opposite_quartiles():
    def row(path, median, low, high):
        return {"path": path, "seconds": {"median": median, "low": low, "high": high}}

    table = {"rows": [row("slow", 8.0, 6.0, 9.0), row("fast", 2.0, 1.0, 3.0)]}
    assert figure.ratio(table, "fast", "slow") == {"ratio": 4.0, "low": 2.0, "high": 9.0}
    table["rows"][0]["seconds"] = None
    assert figure.ratio(table, "fast", "slow") is None
