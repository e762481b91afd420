"""Weights of other programs become run folders: recognised, checked, never executed."""

import json
import pickle

import pytest
import torch
from safetensors.torch import save_file

from faqd_train import load_config, load_run, run_experiment
from faqd_train.cli import main
from faqd_train.data.statistics import Statistics
from faqd_train.networks.cifar_resnet import cifar_resnet
from faqd_train.networks.foreign_weights import read_state, recognise, take_in
from faqd_train.networks.normalisation import accept_normalised_by

DIGITS = ["data.name=digits"]


def network(shortcut="conv", seed=0, channels=1):
    generator = torch.Generator().manual_seed(seed)
    return cifar_resnet(8, channels=channels, shortcut=shortcut, generator=generator).eval()


def as_akamaster(state):
    """Names of a well-known public repository: wrapped by DataParallel, ``linear`` at the end."""
    renamed = {f"module.{key.replace('fc.', 'linear.')}": value for key, value in state.items()}
    return {"best_prec1": 91.7, "state_dict": renamed}


def as_shortcut(state):
    return {
        key.replace("downsample", "shortcut").replace("fc.", "linear."): v
        for key, v in state.items()
    }


FORMS = {
    "bare": lambda state: state,
    "nested, module., linear": as_akamaster,
    "shortcut": as_shortcut,
    "compiled, under model": lambda state: {
        "model": {f"_orig_mod.{k}": v for k, v in state.items()}
    },
    "under net, twice wrapped": lambda state: {
        "net": {f"module._orig_mod.{k}": v for k, v in state.items()}
    },
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("shortcut", ["conv", "pad"])
def test_public_names_and_wrappings_are_recognised(form, shortcut, tmp_path):
    original, path = network(shortcut), tmp_path / "weights.pth"
    torch.save(form(original.state_dict()), path)
    found = recognise(read_state(path))
    assert (found.model.depth, found.model.shortcut, found.classes) == (8, shortcut, 10)
    again = network(shortcut, seed=1)
    take_in(again, found.state, path)
    images = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    assert torch.equal(again(images), original(images))


def test_old_torch_files_and_safetensors_are_read(tmp_path):
    state = network().state_dict()
    torch.save(state, tmp_path / "old.th", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "new.safetensors")
    for name in ("old.th", "new.safetensors"):
        assert recognise(read_state(tmp_path / name)).model.depth == 8


class Payload:
    def __reduce__(self):
        return (open, ("executed", "w"))


@pytest.mark.parametrize("content", ["network", "payload", "text", "tensors of tensors"])
def test_what_is_no_state_dict_is_refused_and_not_run(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    if content == "text":
        path.write_text("weights")
    elif content == "payload":
        path.write_bytes(pickle.dumps(Payload()))
    else:
        torch.save(network() if content == "network" else {"a": [torch.ones(1)]}, path)
    with pytest.raises(
        ValueError, match=r"weights\.pth (cannot be read as weights|holds no state)"
    ):
        read_state(path)
    assert not (tmp_path / "executed").exists()


def test_weights_that_do_not_fit_are_named(tmp_path):
    state = network().state_dict()
    state["fc.bias"] = state["fc.bias"][:3]
    state["extra"] = state.pop("bn1.weight")
    with pytest.raises(
        ValueError,
        match=r"missing: bn1\.weight; left over: extra; of another shape: fc\.bias \(3,\) instead",
    ):
        take_in(network(), state, tmp_path / "weights.pth")


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"ends in '\.h5'; weights in a file that ends in \.pth"):
        read_state(tmp_path / "weights.h5")


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "public.pth"
    torch.save(network().state_dict(), path)
    return path


def test_an_imported_network_teaches_and_is_a_start(weights, tmp_path, capsys):
    teacher = tmp_path / "teacher"
    words = ["import", str(weights), *DIGITS, "--out", str(teacher)]
    assert main([*words, "--licence", "MIT", "--source", "me", "--trained-on", "train"]) == 0
    assert "resnet of depth 8; accuracy on test: " in capsys.readouterr().out
    record = json.loads((teacher / "run.json").read_text())
    assert record["imported"]["licence"] == "MIT"
    assert record["imported"]["trained_on"] == "train"
    assert load_run(teacher).config.model.depth == 8
    taps = ['objective.fa.taps=["layer1","layer3"]', "model.kind=resnet", "model.depth=8"]
    settings = [*taps, "data.limit=60", "optimizer.epochs=1", f'model.init="{teacher}"']
    trained = run_experiment(load_config("digits-fa", settings), tmp_path / "run", teacher=teacher)
    assert trained["teacher"]["weights_sha256"] == record["weights_sha256"]
    assert main(words) == 2
    assert "holds a finished run" in capsys.readouterr().err


def test_an_accuracy_that_is_not_met_is_refused(weights, tmp_path, capsys):
    words = ["import", str(weights), *DIGITS, "--out", str(tmp_path / "run"), "--accuracy", "99.9"]
    assert main(words) == 2
    assert "and 99.90% as given" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_network_that_is_not_known_is_asked_for(tmp_path, capsys):
    path = tmp_path / "own.pt"
    torch.save({"layer.weight": torch.ones(2, 2)}, path)
    words = ["import", str(path), *DIGITS, "--out", str(tmp_path / "run")]
    assert main(words) == 2
    assert "are of no built-in network" in capsys.readouterr().err


def test_inputs_are_normalised_anew_for_a_network_of_another_normalisation():
    given, own = Statistics((10.0, 20.0), (2.0, 4.0)), Statistics((12.0, 5.0), (3.0, 8.0))
    pixels = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    inputs, expected = (
        (pixels - torch.tensor(s.mean)[:, None, None]) / torch.tensor(s.std)[:, None, None]
        for s in (given, own)
    )
    network = torch.nn.Identity()
    accept_normalised_by(network, given, own)
    torch.testing.assert_close(network(inputs), expected, rtol=1e-5, atol=1e-5)


def test_a_start_of_another_normalisation_is_refused(weights, tmp_path, capsys):
    start = tmp_path / "start"
    settings = ["data.mean=[0.5]", "data.std=[0.25]"]
    assert main(["import", str(weights), *DIGITS, *settings, "--out", str(start)]) == 0
    words = ["distill", "digits-qat", "model.kind=resnet", "model.depth=8"]
    assert main([*words, f'model.init="{start}"', "--out", str(tmp_path / "run")]) == 2
    assert "normalised by mean [0.5] and std [0.25]" in capsys.readouterr().err
