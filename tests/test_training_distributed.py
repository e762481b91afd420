"""Two processes train as one does, by gloo; the command under torchrun writes once and resumes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from networks import images, small_resnet
from safetensors.torch import load_file
from tiny_runs import TINY, same_tensors, training

from faqd_train import load_config
from faqd_train.networks.adapters import make_adapters
from faqd_train.runs.record import read_record
from faqd_train.training import distributed
from faqd_train.training.checkpoints import has_checkpoint
from faqd_train.training.loop import fit
from faqd_train.training.seeds import make_streams
from faqd_train.training.teacher import TeacherPass

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
# Parts of 11 and 11, 11 and 11, 9 and 8 images; float, as activations on a threshold would jump.
UNEVEN = [
    *TINY,
    "optimizer.batch_size=22",
    "optimizer.epochs=3",
    "quantization.weights=none",
    "quantization.activations=none",
]
OBJECTIVES = {
    "kd": ["digits-kd"],
    "fa alone": ["digits-fa", "objective.kd=none"],
    "ffa": ["digits-ffa", "objective.fa.weight=1.0"],
}
WORKER = """
import sys, torch
from safetensors.torch import save_file
from test_training_distributed import OBJECTIVES, curve
from faqd_train.training import distributed
if "unsynchronised" in sys.argv:
    distributed.synchronise_norms = lambda network: None
with distributed.processes(torch.device("cpu")):
    for name in OBJECTIVES:
        losses, weights = curve(name)
        if distributed.is_main():
            save_file({"losses": losses, **weights}, f"{sys.argv[1]}/{name}")
"""


def curve(name):
    """Train in float64, where rounding is far below any fault; return losses and weights."""
    base, *overrides = OBJECTIVES[name]
    config = load_config(base, [*UNEVEN, *overrides])
    streams, inputs = make_streams(0), images(count=61)
    teacher, student = small_resnet(1), small_resnet(0)
    parts = {}
    if taps := config.objective.taps:
        adapters = make_adapters(student, teacher, inputs[:1], taps, streams.adapters)
        parts["adapters"] = adapters.double()
    with TeacherPass(teacher.double()) as shared:
        learning = training(
            config, student.double(), inputs.double(), streams=streams, teacher=shared, **parts
        )
        losses = [epoch.loss for epoch in fit(learning).history]
    return torch.tensor(losses, dtype=torch.float64), student.state_dict()


def two_processes(folder, *arguments):
    script = folder / "worker.py"
    script.write_text(WORKER)
    subprocess.run(
        [*TORCHRUN, str(script), str(folder), *arguments],
        check=True,
        capture_output=True,
        timeout=120,
        env=environment(),
    )
    return {name: load_file(folder / name) for name in OBJECTIVES}


def environment():
    tests = Path(__file__).parent
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{tests}:{tests.parent}"}


def test_two_processes_train_as_one_does(tmp_path):
    found = two_processes(tmp_path)
    for name in OBJECTIVES:
        losses, weights = curve(name)
        # Sums in another order differ by 1e-16; FA's gradient, of order 1/‖pixel‖, magnifies that
        # by 10⁵ (in float32 it is seen in the fourth digit, which is why this is float64).
        torch.testing.assert_close(found[name]["losses"], losses, rtol=1e-10, atol=0)
        for key, tensor in weights.items():
            torch.testing.assert_close(found[name][key], tensor, rtol=1e-8, atol=1e-9)


@pytest.mark.slow
def test_norms_over_parts_alone_would_be_noticed(tmp_path):
    found = two_processes(tmp_path, "unsynchronised")
    for name in OBJECTIVES:
        assert not torch.allclose(found[name]["losses"], curve(name)[0], rtol=1e-4, atol=0)


@pytest.mark.parametrize(("images", "batch_size", "least"), [(61, 20, 1), (1, 20, 1), (40, 1, 1)])
def test_a_batch_with_nothing_for_a_process_is_refused(images, batch_size, least, monkeypatch):
    distributed.check_parts(images, batch_size)
    monkeypatch.setattr(distributed, "process_count", lambda: 2)
    distributed.check_parts(62, 20)
    with pytest.raises(ValueError, match=f"a batch has {least} images for 2 processes; one each"):
        distributed.check_parts(images, batch_size)


def command(out, teacher, *options):
    return [
        *TORCHRUN,
        *("-m", "faqd_train.cli", "distill", "digits-ffa", *TINY, "optimizer.epochs=20"),
        *("--out", str(out), "--teacher", str(teacher), *options),
    ]


@pytest.mark.slow
def test_the_command_under_torchrun_writes_once_stops_at_sigterm_and_resumes(teacher, tmp_path):
    whole, parts = (tmp_path / name for name in ("whole", "parts"))
    done = subprocess.run(
        command(whole, teacher), check=True, capture_output=True, text=True, env=environment()
    )
    assert done.stdout.count("accuracy: validation") == 1
    record = read_record(whole / "run.json")
    assert record["environment"]["processes"] == 2
    assert len((whole / "metrics.jsonl").read_text().splitlines()) == len(record["epochs"]) == 20

    started = subprocess.Popen(
        command(parts, teacher), stderr=subprocess.PIPE, text=True, env=environment()
    )
    while not (parts / "metrics.jsonl").exists():
        time.sleep(0.05)
    started.terminate()
    _, error = started.communicate(timeout=60)
    assert "SIGTERM came in epoch" in error
    assert has_checkpoint(parts)
    subprocess.run(
        command(parts, teacher, "--resume"), check=True, capture_output=True, env=environment()
    )
    assert same_tensors(whole / "weights.safetensors", parts / "weights.safetensors")
