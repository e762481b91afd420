"""How runs end that diverge, or that take the place of another."""

import math

import numpy as np
import pytest
import torch

from faqd_train import load_config, run_experiment
from faqd_train.cli import main
from faqd_train.networks.resnet import preact_resnet
from faqd_train.runs.folder import WEIGHTS
from faqd_train.training.divergence import TrainingDiverged
from faqd_train.training.loop import fit
from faqd_train.training.seeds import make_streams

TINY = ["data.limit=60", "model.widths=[4, 4, 8]", "optimizer.batch_size=20", "optimizer.epochs=2"]


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_last_step_that_explodes_is_no_finished_run(epochs, tmp_path):
    """One step an epoch: with one epoch, no loss is taken after the only step."""
    options = ["optimizer.lr=1e30", "optimizer.batch_size=60", f"optimizer.epochs={epochs}"]
    with pytest.raises(
        TrainingDiverged, match=f"epoch {epochs}: .* is not finite at step {3 - epochs}"
    ):
        run_experiment(load_config("digits-float", [*TINY, *options]), tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


def test_last_weights_that_are_not_finite_are_named():
    """An unused parameter enters no loss, so that only a look at the weights finds it."""
    config = load_config("digits-float", TINY)
    generator = torch.Generator().manual_seed(0)
    network = preact_resnet(config.model, in_channels=1, classes=10, generator=generator)
    network.register_buffer("unused", torch.tensor([0.0, math.inf]))
    images = torch.randn(40, 1, 8, 8, generator=generator)
    with pytest.raises(TrainingDiverged, match=r"student\.unused is not finite at step 3; lower"):
        fit(
            network,
            images,
            config,
            streams=make_streams(0),
            prepare=lambda batch, _: batch,
            labels=torch.zeros(40, dtype=torch.int64),
        )


def test_a_run_that_diverged_is_told_so_until_it_is_overwritten(tmp_path):
    config = load_config("digits-float", [*TINY, "optimizer.lr=1e30"])
    with pytest.raises(TrainingDiverged) as first:
        run_experiment(config, tmp_path)
    with pytest.raises(ValueError, match="holds a diverged run; an empty or new folder"):
        run_experiment(config, tmp_path)
    with pytest.raises(TrainingDiverged, match=r"diverged\.json tells; delete the folder") as again:
        run_experiment(config, tmp_path, resume=True)
    assert str(again.value).startswith(str(first.value).rstrip("."))
    calm = load_config("digits-float", TINY)
    with pytest.raises(ValueError, match="holds a diverged run of another configuration"):
        run_experiment(calm, tmp_path, resume=True)
    run_experiment(calm, tmp_path, overwrite=True)
    assert not (tmp_path / "diverged.json").exists()
    assert main(["evaluate", str(tmp_path)]) == 0


def test_overwriting_leaves_nothing_of_the_former_run(tmp_path):
    teacher = tmp_path / "teacher"
    run_experiment(load_config("digits-teacher", TINY), teacher)
    out = tmp_path / "run"
    captured = load_config("digits-fa", [*TINY, "run.capture=3", "run.capture_epochs=[1]"])
    run_experiment(captured, out, teacher=teacher)
    assert {path.name for path in out.glob("features_*")} == {
        f"features_{moment}.npz" for moment in ("before", "epoch1", "after")
    }
    (out / "tensorboard").mkdir()
    for name in ("diverged.json", ".last.checkpoint.part", "tensorboard/events"):
        (out / name).touch()
    (out / "notes.txt").touch()  # not the run's
    run_experiment(load_config("digits-float", TINY), out, overwrite=True)
    assert {path.name for path in out.iterdir()} == {
        ".lock", "best.safetensors", "metrics.jsonl", "notes.txt", "run.json",
        "weights.safetensors",
    }  # fmt: skip


def test_maps_captured_after_an_epoch_change_no_run_and_follow_it(tmp_path):
    """The last epoch's are those after the run, the first one's are not."""
    teacher = tmp_path / "teacher"
    run_experiment(load_config("digits-teacher", TINY), teacher)
    settings = [*TINY, "run.capture=3"]
    plain, watched = tmp_path / "plain", tmp_path / "watched"
    run_experiment(load_config("digits-fa", settings), plain, teacher=teacher)
    settings += ["run.capture_epochs=[1,2]"]
    run_experiment(load_config("digits-fa", settings), watched, teacher=teacher)
    assert (plain / WEIGHTS).read_bytes() == (watched / WEIGHTS).read_bytes()
    first, last, after = (
        np.load(watched / f"features_{moment}.npz")["student.stage1"]
        for moment in ("epoch1", "epoch2", "after")
    )
    np.testing.assert_array_equal(last, after)
    assert np.abs(first - after).max() > 0
