"""Networks, taps and adapters: ordinary modules, drawn from a passed generator only."""

import numpy as np
import pytest
import torch
from networks import SMALL, small_resnet
from torch import nn

from faqd_train.config.schema import OptimizerConfig, PreActResNetConfig
from faqd_train.networks.adapters import make_adapters
from faqd_train.networks.cifar_resnet import cifar_resnet
from faqd_train.networks.taps import tapped
from faqd_train.quantization.activations import calibrate
from faqd_train.quantization.model import quantize_model
from faqd_train.runs.features import capture_features, save_features
from faqd_train.training.optimizer import make_optimizer

STAGES = ("stage1", "stage2", "stage3")


def postactivation(depth, channels, shortcut):
    generator = torch.Generator().manual_seed(0)
    return cifar_resnet(depth, channels=channels, shortcut=shortcut, generator=generator)


@pytest.mark.parametrize(
    ("config", "millions"),
    [
        # He et al. 2016a, Table 6 (0.27M, 0.85M, 1.7M); 2016b names 1.7M for ResNet-164.
        (PreActResNetConfig(depth=20), 0.27),
        (PreActResNetConfig(depth=56), 0.85),
        (PreActResNetConfig(depth=110), 1.7),
        (PreActResNetConfig(depth=164, bottleneck=True), 1.7),
    ],
)
def test_cifar_networks_have_the_published_size_and_depth(config, millions):
    model = small_resnet(config=config, channels=3)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters / 1e6 == pytest.approx(millions, rel=0.03)
    on_the_way = [
        name for name, m in model.named_modules()
        if isinstance(m, nn.Conv2d | nn.Linear) and not name.endswith("shortcut")
    ]  # fmt: skip
    assert len(on_the_way) == config.depth


def test_network_equals_a_preactivation_network_written_out():
    """Blocks of norm, ReLU, conv, norm, ReLU, conv, after He et al. 2016b, fig. 1b."""
    model = small_resnet(config=SMALL.model_copy(update={"depth": 14})).eval()
    images = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    trunk, preactivation = model.stem[0](images), model.stem[1:]
    for name in STAGES:
        stage = model.get_submodule(name)
        trunk, preactivation = preactivation(trunk), nn.Identity()
        for block, following in zip(stage.blocks, stage.activations, strict=True):
            activated = preactivation(trunk)
            skipped = trunk if block.shortcut is None else block.shortcut(activated)
            trunk, preactivation = skipped + block.branch(activated), following
    logits = model.classifier(preactivation(trunk).mean(dim=(2, 3)))
    torch.testing.assert_close(model(images), logits, rtol=0, atol=0)


def test_postactivation_networks_have_the_published_size():
    """He et al. 2016a: 0.27M parameters without shortcuts' own, and with those of convolutions."""
    sizes = {
        shortcut: sum(p.numel() for p in postactivation(20, 3, shortcut).parameters())
        for shortcut in ("pad", "conv")
    }
    assert sizes == {"pad": 269_722, "conv": 272_474}


def test_a_padded_shortcut_is_every_second_pixel_among_channels_of_zeros():
    block = postactivation(8, 1, "pad").layer2[0]
    maps = torch.randn(2, 16, 5, 4, generator=torch.Generator().manual_seed(1))
    expected = torch.zeros(2, 32, 3, 2)
    for y in range(3):
        for x in range(2):
            expected[:, 8:24, y, x] = maps[:, :, 2 * y, 2 * x]
    assert torch.equal(block.downsample(maps), expected)
    branch = block.bn2(block.conv2(block.relu1(block.bn1(block.conv1(maps)))))
    with torch.no_grad():
        expected = (branch + expected).clamp(min=0)
        branch_twice = block(maps)
    # The norms are in training mode: the same batch gives the same statistics.
    torch.testing.assert_close(branch_twice, expected)


@pytest.mark.parametrize(("depth", "nearest"), [(21, 20), (5, 8), (24, 26), (2, 8)])
def test_postactivation_networks_of_another_depth_are_refused(depth, nearest):
    message = rf"^depth is {depth}; 6n \+ 2 is accepted: take {nearest}\.$"
    with pytest.raises(ValueError, match=message):
        postactivation(depth, 3, "conv")


def test_same_seed_gives_the_same_weights_and_another_seed_others():
    first, again, other = (small_resnet(seed=seed).stem[0].weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_initial_weights_have_the_variance_of_he():
    network = small_resnet(config=PreActResNetConfig(depth=8, widths=(64, 64, 64)))
    weights = network.stage2.blocks[0].branch[0].weight
    # 36,864 draws: the relative standard error of the variance is √(2/n) = 0.7 %.
    assert weights.var().item() == pytest.approx(2 / (9 * 64), rel=0.04)


def test_taps_are_what_the_next_convolution_reads():
    model = small_resnet().eval()
    inputs = {}
    model.stage2.blocks[0].branch[0].register_forward_pre_hook(
        lambda _module, given: inputs.update(stage1=given[0])
    )
    with tapped(model, STAGES) as maps:
        model(torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert maps["stage1"] is inputs["stage1"]
    assert all((features >= 0).all() for features in maps.values())
    assert [features.shape[2] for features in maps.values()] == [8, 8, 4]


def test_hooks_are_gone_afterwards_even_after_an_error():
    model = small_resnet()
    with pytest.raises(RuntimeError, match="channels"), tapped(model, STAGES):
        model(torch.zeros(1, 2, 8, 8))
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("name", ["stage9", ""])
def test_unknown_taps_name_the_nearest(name):
    with (
        pytest.raises(ValueError, match=rf"module '{name}' is not in the network; .*stage"),
        tapped(small_resnet(), [name]),
    ):
        pass


def test_a_tap_without_pixels_is_refused():
    network, inputs = small_resnet(), torch.zeros(1, 1, 8, 8)
    with pytest.raises(ValueError, match=r"tap 'classifier' gives shape \(1, 10\); feature maps"):
        make_adapters(network, network, inputs, ["classifier"], torch.Generator())


def test_activation_steps_have_their_own_rate_and_no_decay():
    student = quantize_model(small_resnet(), 4, 4)
    optimizer = make_optimizer(student, None, OptimizerConfig(lr=0.5))
    _, steps = optimizer.param_groups
    assert (len(steps["params"]), steps["lr"], steps["weight_decay"]) == (7, 0.005, 0)
    assert optimizer.param_groups[0]["weight_decay"] == 1e-4


def test_calibrated_norms_hold_the_statistics_of_the_images():
    student = quantize_model(small_resnet(), 4, 4)
    images = 3 + 2 * torch.randn(50, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    calibrate(student, images)
    maps, norm = student.stem[0](images), student.stem[1]
    torch.testing.assert_close(norm.running_mean, maps.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(norm.running_var, maps.var(dim=(0, 2, 3)))
    assert norm.momentum == 0.1


def test_feature_file_holds_pairs_that_plain_numpy_reads(tmp_path):
    student, teacher = small_resnet(), small_resnet(seed=1)
    images = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    adapters = make_adapters(student, teacher, images, STAGES, torch.Generator().manual_seed(2))
    adapted = capture_features(student, images, STAGES, adapters=adapters)
    save_features(tmp_path / "f.npz", adapted, capture_features(teacher, images, STAGES))
    with np.load(tmp_path / "f.npz", allow_pickle=False) as file:
        assert sorted(file) == sorted(
            f"{who}.{s}" for who in ("student", "teacher") for s in STAGES
        )
        maps, weight = file["student.stage3"], adapters[2][0].weight.detach().numpy()[:, :, 0, 0]
    raw = capture_features(student, images, STAGES)["stage3"]
    expected = np.maximum(np.einsum("oc,bchw->bohw", weight, raw), 0)  # the bias starts at 0
    assert maps.dtype == np.float32
    # Eight products in float32.
    np.testing.assert_allclose(maps, expected, atol=1e-5 * np.abs(expected).max(), rtol=0)
