"""Networks built from a configuration: wide ResNets, foreign ones, fine-tuning, pairs of taps."""

import numpy as np
import pytest
import torch
from networks import SMALL, images, small_resnet
from safetensors.torch import load_file
from tiny_runs import tiny, train

from faqd_train import calibrate, distill, quantize_model
from faqd_train.config.files import check_config
from faqd_train.config.networks import FactoryConfig, ResNetConfig
from faqd_train.config.schema import PreActResNetConfig, QuantizationConfig
from faqd_train.data import Description, load_images
from faqd_train.networks.adapters import make_adapters
from faqd_train.networks.building import build_network, foreign_network
from faqd_train.networks.resnet import preact_resnet
from faqd_train.networks.taps import tapped
from faqd_train.quantization.activations import activation_steps
from faqd_train.quantization.model import weight_levels

STAGES = ("stage1", "stage2", "stage3", "stage4")
WIDE = {"widths": (64, 128, 256, 512), "strides": (1, 2, 2, 2)}
RESNET18 = PreActResNetConfig(depth=18, **WIDE)
RESNET34 = PreActResNetConfig(depth=34, blocks=(3, 4, 6, 3), **WIDE)
DIGITS = Description(channels=1, side=8, classes=10)
FLOAT = QuantizationConfig(weights=None, activations=None)
SHORT = ["optimizer.epochs=1"]


@pytest.fixture(scope="module", autouse=True)
def _digits_are_loaded():
    load_images("digits", "test")  # scikit-learn draws from `random` when it is first imported


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def build(quantization=FLOAT, model=SMALL, seed=0, **options):
    return build_network(model, quantization, DIGITS, stream(seed), **options)


@pytest.mark.parametrize(
    ("config", "side", "sides"),
    [
        (RESNET18, 224, [56, 28, 14, 7]),
        (RESNET18, 64, [64, 32, 16, 8]),
        (RESNET18.model_copy(update={"stem": "large"}), 64, [16, 8, 4, 2]),
        (RESNET34.model_copy(update={"stem": "small"}), 32, [32, 16, 8, 4]),
    ],
)
def test_taps_of_wide_resnets_have_the_released_sizes(config, side, sides):
    network = preact_resnet(config, in_channels=3, classes=200, side=side, generator=stream())
    with tapped(network.eval(), STAGES) as maps, torch.no_grad():
        logits = network(torch.zeros(1, 3, side, side))
    assert [tuple(maps[name].shape[1:]) for name in STAGES] == [
        (width, size, size) for width, size in zip(WIDE["widths"], sides, strict=True)
    ]
    assert logits.shape == (1, 200)


@pytest.mark.parametrize(("config", "millions"), [(RESNET18, 11.69), (RESNET34, 21.80)])
def test_wide_resnets_have_the_published_number_of_parameters(config, millions):
    """11.69M and 21.80M for 1,000 classes: torchvision's documentation of resnet18 and resnet34."""
    network = preact_resnet(config, in_channels=3, classes=1_000, side=224, generator=stream())
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count / 1e6 == pytest.approx(millions, rel=2e-3)


@pytest.mark.parametrize(
    "model",
    [
        FactoryConfig(factory="networks:TwoHeads", options={"classes": 10}),
        ResNetConfig(depth=8),
        ResNetConfig(depth=8, shortcut="pad"),
    ],
)
def test_networks_of_constructors_draw_from_a_seed_of_our_own(model):
    networks = [build(model=model, seed=seed) for seed in (0, 0, 1)]
    first, again, other = (network.state_dict() for network in networks)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert networks[0](images()).shape == (6, 10)


@pytest.mark.parametrize(
    ("factory", "options", "message"),
    [
        ("networks.TwoHeads", {}, r"'networks\.TwoHeads', which cannot be imported \(.*\); 'pack"),
        ("networks:Nothing", {}, r"cannot be imported \(.*has no attribute 'Nothing'\)"),
        ("nowhere_at_all:f", {}, r"cannot be imported \(No module named 'nowhere_at_all'\)"),
        (":f", {}, r"':f', which cannot be imported \(Empty module name\)"),
        ("networks:TwoHeads", {}, r"options \{\}: missing a required argument: 'classes'; give"),
        ("networks:TwoHeads", {"classes": 10, "w": 1}, "unexpected keyword argument 'w'; give"),
        ("networks:no_network", {"classes": 10}, r"returns a int; an nn\.Module is accepted"),
        ("networks:TwoHeads", {"classes": 3}, r"gives shape \(1, 3\) for one image of the data; "),
        (
            "torch.nn:Conv2d",
            {"in_channels": 3, "out_channels": 1, "kernel_size": 1},
            r"fails on an image of shape \(1, 8, 8\) \(.*\); set its options",
        ),
    ],
)
def test_factories_that_do_not_fit_are_refused_in_one_sentence(factory, options, message):
    with pytest.raises(ValueError, match=message) as refusal:
        foreign_network(factory, options, DIGITS, stream())
    assert "\n" not in str(refusal.value)


def test_a_foreign_student_is_distilled_by_its_own_taps(teacher, tmp_path):
    own = [
        "model.factory='networks:TwoHeads'",
        "model.options.classes=10",
        "quantization.weights.keep_float=['unused']",
        "objective.fa.taps=['features']",
        "objective.fa.teacher_taps=['stage2']",
    ]
    record = train(tmp_path, *SHORT, *own, "run.capture=2", name="digits-fa", teacher=teacher)
    assert set(record["weight_levels"]) == {"features.0"}
    assert set(record["activation_steps"]) == {"features.2"}
    with np.load(tmp_path / "features_after.npz") as maps:
        assert set(maps) == {"student.features", "teacher.features"}
        assert maps["student.features"].shape == maps["teacher.features"].shape == (2, 4, 8, 8)


def test_adapters_join_taps_of_other_names_and_widths():
    teacher = preact_resnet(
        PreActResNetConfig(depth=8), in_channels=1, classes=10, generator=stream(1)
    )
    student = small_resnet()
    running = student.stem[1].running_mean.clone()
    adapters = make_adapters(
        student, teacher, images(), ["stage1", "stage3"], stream(2),
        teacher_taps=["stage3", "stem"],
    )  # fmt: skip
    widths = [(adapter[0].in_channels, adapter[0].out_channels) for adapter in adapters]
    assert widths == [(4, 64), (8, 16)]
    assert torch.equal(student.stem[1].running_mean, running)


def test_a_tap_that_is_never_run_is_refused():
    network = foreign_network("networks:TwoHeads", {"classes": 10}, DIGITS, stream())
    with pytest.raises(ValueError, match="tap 'unused' gives no tensor, or is not run; feature"):
        make_adapters(network, network, images(), ["unused"], stream())


@pytest.mark.parametrize("bits", [(32, 32), (2, 32), (32, 4), (1, 4)])
@pytest.mark.parametrize("projection", ["exact", "alternating"])
def test_fine_tuning_starts_from_the_float_weights_of_any_run(bits, projection):
    initial = quantize_model(small_resnet(7), *bits, projection=projection)
    calibrate(initial, images(1, count=30))
    student = build(QuantizationConfig(), initial=initial)
    source, taken = (network.stem for network in (initial, student))
    floats = source[0].parametrizations.weight.original if bits[0] < 32 else source[0].weight
    assert torch.equal(taken[0].parametrizations.weight.original, floats)
    assert torch.equal(taken[1].running_mean, source[1].running_mean)
    calibrate(student, images(2, count=30))
    same = activation_steps(student) == activation_steps(initial)
    assert same == (bits[1] == 4)  # steps of as many bits are taken up, others calibrated


def test_a_float_network_computes_what_the_float_run_before_did():
    initial = build(seed=3)
    calibrate(initial, images(1, count=30))
    again = build(seed=4, initial=initial)
    assert torch.equal(again.eval()(images()), initial.eval()(images()))
    assert not torch.equal(build(seed=4).eval()(images()), initial(images()))


def test_fine_tuning_from_another_architecture_is_refused():
    with pytest.raises(ValueError, match=r"model\.init names a run whose network has other layers"):
        build(model=PreActResNetConfig(depth=8), initial=small_resnet())


def test_a_run_fine_tunes_from_a_run(tmp_path):
    floats, student = tmp_path / "floats", tmp_path / "student"
    start = train(floats, *SHORT, name="digits-float")
    settings = [f"model.init={floats}", "optimizer.lr=1e-9"]
    record = train(student, *SHORT, *settings, name="digits-qat")
    assert record["init"]["weights_sha256"] == start["weights_sha256"]
    before = load_file(floats / "weights.safetensors")["stem.0.weight"]
    after = load_file(student / "weights.safetensors")["stem.0.parametrizations.weight.original"]
    torch.testing.assert_close(before, after, rtol=0, atol=1e-6)  # at this rate nothing moves
    assert all(count["distinct"] <= 15 for count in record["weight_levels"].values())


@pytest.mark.parametrize(
    "overrides",
    [
        ["quantization.weights.projection=alternating", "quantization.weights.per_channel=true"],
        ["quantization.weights.projection=released", "quantization.activations.rule=released"],
        [
            "quantization.weights.blend=0.5",
            "quantization.weights.first=float",
            "quantization.weights.last=quantized",
        ],
    ],
)
def test_every_rule_runs_from_a_configuration_and_reads_back(tmp_path, overrides):
    record = train(tmp_path / "run", *SHORT, *overrides, name="digits-qat")
    assert check_config(record["config"]) == tiny("digits-qat", *SHORT, *overrides)
    assert all(c["distinct"] <= c["allowed"] for c in record["weight_levels"].values())
    assert ("stem.0" in record["weight_levels"]) == (
        "quantization.weights.first=float" not in overrides
    )


def test_blending_changes_what_is_learned(tmp_path):
    learned = []
    for beta in (0.0, 0.5):
        out = tmp_path / str(beta)
        train(out, *SHORT, f"quantization.weights.blend={beta}", name="digits-qat")
        learned.append(load_file(out / "weights.safetensors"))
    name = "stem.0.parametrizations.weight.original"
    assert not torch.equal(learned[0][name], learned[1][name])


def test_distill_quantizes_a_float_student_as_configured_and_keeps_a_quantized_one():
    config = tiny("digits-ffa", *SHORT, "quantization.weights.bits=2")
    teacher, plain = small_resnet(1), small_resnet(2)
    own = quantize_model(small_resnet(2), 1, 8, last="float")
    for student, allowed in ((plain, 3), (own, 2)):
        distill(teacher, student, images(count=40), config)
        assert not student.training
        levels = weight_levels(student)
        assert set(levels) == set(weight_levels(own))
        assert all(count["allowed"] == allowed for count in levels.values())
