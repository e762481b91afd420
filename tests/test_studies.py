"""Studies on small inputs: what they measure is what the theory says, and lands in a record."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

import faqd_math as fm
from analysis.products.catalogue import KINDS
from analysis.records import store
from analysis.studies.__main__ import main
from analysis.studies.affinities import affinities
from analysis.studies.cost import costs
from analysis.studies.fixed_probes import fixed_probes
from analysis.studies.gradient_noise import gradient_noise
from analysis.studies.orders import PROBES, orders
from analysis.studies.probe_errors import EPSILONS, probe_errors
from analysis.studies.quantizers import quantizers
from analysis.studies.ranks import ranks
from analysis.studies.registry import STUDIES
from analysis.studies.study import Sources, crop
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
    for stage, maps in zip(result["stages"].values(), pairs.values(), strict=True):
        spectrum = fm.gap_spectrum(maps[0][0], maps[1][0])
        for i, k in enumerate(stage["probes"]):
            for name, probability in (("exact", 0.05), ("measured", 0.05)):
                actual = fm.law.failure_probability(spectrum, k, stage[name][i])
                # The 95 % quantile of 200 draws lies within 5 σ of their share, 0.015 each.
                spread = 1e-6 if name == "exact" else 5 * 0.0155
                assert actual == pytest.approx(probability, abs=spread)
            assert all(errors[i] > stage["exact"][i] for errors in stage["bounds"].values())
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


@pytest.fixture
def run(tmp_path, pairs):
    """Write the folder of a run that captured maps before, after one epoch and at the end."""
    folder = tmp_path / "cifar10-fa"
    folder.mkdir()
    write_maps(folder / "features_before.npz", pairs)
    write_maps(folder / "features_epoch1.npz", {t: (m[0], m[0]) for t, m in pairs.items()})
    write_maps(folder / "features_after.npz", pairs)
    config = {
        "data": {"name": "cifar10"},
        "model": {"depth": 20},
        "quantization": {},
        "objective": {"label": None},
    }
    (folder / "run.json").write_text(json.dumps({"config": config, "epochs": [{}, {}]}))
    return folder


def test_ranks_follow_the_captured_epochs(run, pairs):
    result = ranks(Sources(run=run))
    assert (result["epochs"], result["samples"]) == ([0, 1, 2], 2)
    assert result["about"] == "CIFAR-10, 4W4A PreActResNet-20 by FA, 2 epochs"
    before, middle, _ = result["taps"]["first"]["fa"]
    # The median of two samples is their mean.
    samples = zip(*pairs["first"], strict=True)
    assert before[1] == pytest.approx(np.mean([fm.fa_loss(*sample) for sample in samples]))
    assert middle == pytest.approx([0, 0, 0], abs=1e-25)  # of equal maps


def test_ranks_of_a_run_without_maps_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no captured maps; set run\.capture"):
        ranks(Sources(run=tmp_path))


@pytest.fixture
def weights(tmp_path):
    rng, path = np.random.default_rng(6), tmp_path / "weights.safetensors"
    save_file({"a.weight": rng.standard_normal((2, 2, 3, 3)), "bias": np.zeros(2)}, path)
    return path


def test_a_study_lands_in_a_record_that_names_no_folder(tmp_path, weights, capsys):
    arguments = ["quantizers", "--weights", str(weights), "--about", "a toy", "--to", str(tmp_path)]
    assert main(arguments) == 0
    path = tmp_path / "studies" / "quantizers.json"
    assert capsys.readouterr().out == f"{path}\n"
    record = store.load(path)
    assert list(record.result["layers"]) == ["a.weight"]
    assert record.inputs == {"weights.safetensors": store.file_sha256(weights)}
    assert record.command == (
        "python -m analysis.studies quantizers --weights weights.safetensors --about 'a toy'"
    )
    assert (record.seeds, record.k, record.replications) == ([], [], None)  # nothing is drawn


def test_another_record_of_a_study_is_kept_unless_replaced(tmp_path, weights, capsys):
    arguments = ["quantizers", "--weights", str(weights), "--to", str(tmp_path), "--about"]
    assert main([*arguments, "one"]) == 0
    with pytest.raises(SystemExit):
        main([*arguments, "other"])
    assert "quantizers.json exists with other content" in capsys.readouterr().err
    assert main([*arguments, "other", "--replace"]) == 0


def test_all_computes_what_has_its_inputs_and_keeps_the_rest(tmp_path, run, capsys, monkeypatch):
    needed = {"affinities", "ranks", "gradient-noise"}
    others = set(STUDIES) - needed - {"quantizers"}
    monkeypatch.setattr(
        "analysis.studies.__main__.STUDIES", {n: s for n, s in STUDIES.items() if n not in others}
    )
    assert main(["all", "--run", str(run), "--to", str(tmp_path / "to")]) == 0
    records = store.load_all(tmp_path / "to", KINDS)
    assert set(records) == {f"studies/{name}" for name in needed}
    assert "quantizers: kept, as it needs --weights" in capsys.readouterr().out
    noise = records["studies/gradient-noise"]
    assert set(noise.inputs) == {"features_after.npz"}
    assert set(records["studies/ranks"].inputs) == {p.name for p in run.glob("*.npz")}
    assert (noise.seeds, noise.k[-1], noise.replications) == ([0], 64, 400)
    for record in records.values():
        assert "--run cifar10-fa --about 'CIFAR-10, 4W4A PreActResNet-20 by FA, 2 epochs'" in (
            record.command
        )


@pytest.mark.parametrize(
    ("study", "option"), [("orders", "--features"), ("ranks", "--run"), ("quantizers", "--weights")]
)
def test_a_study_without_its_input_says_which(study, option, capsys):
    with pytest.raises(SystemExit):
        main([study])
    assert f"this study got no {option}" in capsys.readouterr().err
