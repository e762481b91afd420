"""Runs of every kind of quantizer and precision that are cut off go on to the same bits."""

import pytest
import torch
from cut_off_runs import Killed, assert_same_run
from networks import compiler_needed

from faqd_train import load_config, run_experiment
from faqd_train.training import checkpoints
from faqd_train.training.optimizer import make_optimizer, make_schedule
from faqd_train.training.seeds import make_streams
from faqd_train.training.state import TrainingState

# Three steps an epoch, saved after the second and at the end: the third write is within epoch 2.
TINY = ["data.limit=60", "model.widths=[4, 4, 8]", "optimizer.batch_size=20", "optimizer.epochs=2"]
OFTEN = [*TINY, "run.checkpoint_steps=2"]
SETTINGS = {
    "by channel, blended": [
        "quantization.weights.per_channel=true",
        "quantization.weights.blend=0.1",
    ],
    "bfloat16": ["run.precision=bfloat16", "run.teacher.precision=bfloat16"],
    "warm-up": ["optimizer.warmup_epochs=1"],
    "channels-last": ["run.channels_last=true"],
    "released rules": [
        "quantization.weights.projection=released",
        "quantization.activations.rule=released",
    ],
    "random resized crop": ["data.crop_area=0.5", "data.shift=0", "data.flip=true"],
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "teacher"
    run_experiment(load_config("digits-teacher", TINY), folder)
    return folder


def assert_resumes(settings, teacher, tmp_path, monkeypatch):
    config = load_config("digits-ffa", [*OFTEN, *settings])
    run_experiment(config, tmp_path / "whole", teacher=teacher)
    genuine, done = checkpoints.Checkpoints.save, []

    def save(self, state):
        genuine(self, state)
        done.append((state["epoch"], state["batches"]))
        if len(done) == 3:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.Checkpoints, "save", save)
        with pytest.raises(Killed):
            run_experiment(config, tmp_path / "cut", teacher=teacher)
    assert done[-1] == (2, 2)
    run_experiment(config, tmp_path / "cut", teacher=teacher, resume=True)
    assert_same_run(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_run_cut_off_resumes_to_the_same_bits(settings, teacher, tmp_path, monkeypatch):
    assert_resumes(settings, teacher, tmp_path, monkeypatch)


@pytest.mark.slow
@compiler_needed
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, by torch
def test_a_compiled_run_resumes_to_the_same_bits(teacher, tmp_path, monkeypatch):
    assert_resumes(["run.compile=true"], teacher, tmp_path, monkeypatch)


def test_a_fine_tuned_run_resumes_to_the_same_bits(teacher, tmp_path, monkeypatch):
    start = tmp_path / "start"
    options = ["quantization.weights=none"]
    run_experiment(load_config("digits-ffa", [*TINY, *options]), start, teacher=teacher)
    assert_resumes([f'model.init="{start}"'], teacher, tmp_path, monkeypatch)


def test_a_forgotten_buffer_would_be_noticed(teacher, tmp_path, monkeypatch):
    """The steps of the alternating projection, left out of the checkpoint, change the bits."""
    genuine = checkpoints.Checkpoints.load

    def load(self):
        state = genuine(self)
        if state is not None:
            for name, tensor in state["student"].items():
                if name.endswith(".0.step"):
                    tensor.mul_(1.5)
        return state

    monkeypatch.setattr(checkpoints.Checkpoints, "load", load)
    with pytest.raises(AssertionError):
        assert_resumes(SETTINGS["by channel, blended"], teacher, tmp_path, monkeypatch)


def fresh_state():
    network, config = torch.nn.Flatten(), load_config("digits-float").optimizer
    network.register_parameter("weight", torch.nn.Parameter(torch.zeros(1)))
    optimizer = make_optimizer(network, None, config)
    schedule = make_schedule(optimizer, config)
    return TrainingState(network, None, optimizer, schedule, make_streams(0))


def test_probes_start_anew_where_another_kind_of_device_drew_them():
    state, resumed = fresh_state(), fresh_state()
    torch.rand(5, generator=state.streams.probes)
    torch.rand(5, generator=state.streams.augment)
    tree, start = state.to_tree(0.0), resumed.streams.probes.get_state()
    resumed.restore(tree)
    assert torch.equal(resumed.streams.probes.get_state(), tree["generators"]["probes"])
    resumed = fresh_state()
    other = {"probes": torch.zeros(16, dtype=torch.uint8)}  # a CUDA generator's has 16 bytes
    resumed.restore(tree | {"generators": tree["generators"] | other})
    assert torch.equal(resumed.streams.probes.get_state(), start)
    assert torch.equal(resumed.streams.augment.get_state(), tree["generators"]["augment"])
