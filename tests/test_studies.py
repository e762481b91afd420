"""Studies on small inputs: what they measure is what the theory says, and lands in a record."""

import numpy as np
import pytest
from safetensors.numpy import save_file

import faqd_math as fm
from analysis import results
from analysis.studies.__main__ import main
from analysis.studies.affinities import affinities
from analysis.studies.costs import costs
from analysis.studies.fixed_probes import fixed_probes
from analysis.studies.gradient_noise import gradient_noise
from analysis.studies.inputs import crop
from analysis.studies.orders import PROBES, orders
from analysis.studies.probe_errors import EPSILONS, probe_errors
from analysis.studies.quantizers import quantizers
from analysis.studies.ranks import ranks
from faqd_math.cost import multiply_adds


@pytest.fixture(scope="module")
def pairs():
    rng = np.random.default_rng(0)
    return {
        "first": tuple(rng.standard_normal((2, 2, 4, 8, 8))),
        "second": tuple(rng.standard_normal((2, 2, 6, 4, 4))),
    }


def test_crops_are_central():
    maps = np.arange(36.0).reshape(1, 6, 6)
    assert crop(maps, 2).tolist() == [[[14.0, 15.0], [20.0, 21.0]]]


def test_measured_tails_agree_with_the_exact_law_and_bounds_hold(pairs):
    result = probe_errors(pairs, "toy", rng=np.random.default_rng(1), replications=200)
    for stage in result["stages"].values():
        tails = stage["tails"]
        for i, _ in enumerate(EPSILONS):
            exact = tails["exact law"][i]
            # 95 % intervals of 2 × 19 correlated shares: within four times their half-width.
            low, high = tails["low"][i], tails["high"][i]
            assert low - 1.5 * (high - low) <= exact <= high + 1.5 * (high - low)
            assert all(tails[f"B{b}"][i] >= exact for b in range(1, 10))
        assert all(
            k > asked["probes"]["exact law"]
            for asked in stage["needed"]
            for name, k in asked["probes"].items()
            if name.startswith("B")
        )
        assert len(stage["exact_of_all"]) == 2


def test_gradient_noise_is_as_predicted(pairs):
    result = gradient_noise(pairs, "toy", rng=np.random.default_rng(2), replications=400)
    noises = [n for noises in result["by_probes"].values() for n in noises]
    assert {n["pixels"] for n in result["by_pixels"]} == {16, 64}
    assert result["cropped"] == "first"
    for noise in noises + result["by_pixels"]:
        # Squared errors of 400 draws with relative deviations of about 1 at k = 1, less beyond.
        assert noise["gradient_measured"] == pytest.approx(noise["gradient_predicted"], rel=0.15)
        assert noise["value_measured"] == pytest.approx(noise["value_predicted"], rel=0.25)


def test_order_one_has_another_limit_and_the_others_are_unbiased(pairs):
    stages = orders(pairs, "toy", rng=np.random.default_rng(3), replications=200)["stages"]
    for stage in stages.values():
        limit = stage["order 1, limit by P9"]
        assert limit < 0.9
        for i, _ in enumerate(PROBES[2:], start=2):
            for key, expected in (("order 1", limit), ("order 2", 1), ("order 1, Cauchy", 1)):
                moment = stage[key][i]
                error = moment["sd"] / 200**0.5
                assert abs(moment["mean"] - expected) < 5 * error, key


def test_fixed_probes_leave_fa_where_fresh_ones_do_not():
    result = fixed_probes(seeds=(0, 1), steps=200)
    left = {name: [run[-1] for run in runs] for name, runs in result["curves"].items()}
    for k in (1, 5):
        assert min(left[f"fixed, k = {k}"]) > 2 * max(left[f"fresh, k = {k}"])
    assert all(run[0] == 1 for runs in result["curves"].values() for run in runs)
    assert result["steps"][-1] == 200


def test_no_projection_is_better_than_the_exact_one():
    rng = np.random.default_rng(4)
    weights = {"a.weight": rng.standard_normal((4, 3, 3, 3)), "b.weight": rng.random((2, 2, 1, 1))}
    result = quantizers(weights, "toy")
    for layer in result["layers"].values():
        for errors in layer["errors"].values():
            assert errors["exact"] <= min(errors["released"], errors["alternating"]) + 1e-12
    counts = result["histograms"]["bits"]
    assert {bits: len(levels["levels"]) <= 2 ** int(bits) for bits, levels in counts.items()} == {
        "1": True,
        "2": True,
        "4": True,
    }
    assert sum(result["histograms"]["counts"]) == weights[result["histogram_layer"]].size


def test_affinities_are_in_percent_and_fa_is_of_whole_maps(pairs):
    result = affinities(pairs, pairs, "toy")
    student, teacher = (maps[0] for maps in pairs["first"])
    shown = result["taps"]["first"]
    assert np.abs(np.array(shown["student after"]) - 100 * fm.affinity(student)).max() <= 0.5
    assert shown["fa_after"] == fm.fa_loss(student, teacher)


def test_costs_count_by_the_formulas():
    result = costs(rng=np.random.default_rng(5), rounds=1, sides=(2, 4))
    for channels, shape in result["shapes"].items():
        for path in ("direct", "ffa", "gram"):
            counted = [multiply_adds(path, n, int(channels), int(channels), 15) for n in (4, 16)]
            assert shape[path]["multiply_adds"] == counted
            assert all(
                low <= high
                for low, high in zip(shape[path]["fastest"], shape[path]["slowest"], strict=True)
            )
            assert min(shape[path]["bytes"]) > 0


def write_maps(path, pairs):
    sides = {f"student.{tap}": s for tap, (s, _) in pairs.items()}
    np.savez(path, **sides, **{f"teacher.{tap}": t for tap, (_, t) in pairs.items()})


def test_ranks_follow_the_captured_epochs(tmp_path, pairs):
    write_maps(tmp_path / "features_before.npz", pairs)
    write_maps(tmp_path / "features_epoch3.npz", {t: (m[0], m[0]) for t, m in pairs.items()})
    result = ranks(tmp_path, "toy")
    assert (result["epochs"], result["samples"]) == ([0, 3], 2)
    before, after = result["taps"]["first"]["fa"]
    # The median of two samples is their mean.
    assert before[1] == pytest.approx(fm.fa_loss(*pairs["first"]))
    assert after == pytest.approx([0, 0, 0], abs=1e-25)  # of equal maps


def test_ranks_of_a_run_without_maps_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no captured maps; set run\.capture"):
        ranks(tmp_path, "toy")


def test_a_study_lands_in_a_record_that_names_no_folder(tmp_path, capsys):
    weights = tmp_path / "weights.safetensors"
    rng = np.random.default_rng(6)
    save_file({"a.weight": rng.standard_normal((2, 2, 3, 3)), "bias": np.zeros(2)}, weights)
    arguments = ["quantizers", "--weights", str(weights), "--about", "a toy", "--to", str(tmp_path)]
    assert main(arguments) == 0
    path = tmp_path / "studies" / "quantizers.json"
    assert capsys.readouterr().out == f"{path}\n"
    record = results.load(path)
    assert list(record.result["layers"]) == ["a.weight"]
    assert record.inputs == {"weights.safetensors": results.file_sha256(weights)}
    assert str(tmp_path) not in record.command
    assert "'a toy'" in record.command


@pytest.mark.parametrize(
    ("study", "option"), [("orders", "--features"), ("ranks", "--run"), ("quantizers", "--weights")]
)
def test_a_study_without_its_input_says_which(study, option, capsys):
    with pytest.raises(SystemExit):
        main([study])
    assert f"this study got no {option}; a file or folder is needed" in capsys.readouterr().err
