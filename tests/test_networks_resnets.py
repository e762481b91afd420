"""Networks, taps and adapters: ordinary modules, drawn from a passed generator only."""

import numpy as np
import pytest
import torch
from torch import nn

from faqd_train.config.schema import OptimizerConfig, PreActResNetConfig
from faqd_train.data import load_images, make_preparation, random_shift
from faqd_train.networks.adapters import make_adapters
from faqd_train.networks.resnet import Block, preact_resnet
from faqd_train.networks.taps import tapped
from faqd_train.quantization.activations import calibrate
from faqd_train.quantization.model import quantize_model
from faqd_train.runs.features import capture_features, save_features
from faqd_train.training.loop import make_optimizer

STAGES = ("stage1", "stage2", "stage3")
SMALL = PreActResNetConfig(depth=8, widths=(4, 4, 8), strides=(1, 1, 2))


def network(config=SMALL, seed=0, channels=1):
    generator = torch.Generator().manual_seed(seed)
    return preact_resnet(config, in_channels=channels, classes=10, generator=generator)


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
    model = network(config, channels=3)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters / 1e6 == pytest.approx(millions, rel=0.03)
    on_the_way = [
        name for name, m in model.named_modules()
        if isinstance(m, nn.Conv2d | nn.Linear) and not name.endswith("shortcut")
    ]  # fmt: skip
    assert len(on_the_way) == config.depth


def test_network_equals_a_preactivation_network_written_out():
    """Blocks of norm, ReLU, conv, norm, ReLU, conv, after He et al. 2016b, fig. 1b."""
    model = network(PreActResNetConfig(depth=14, widths=(4, 4, 8), strides=(1, 1, 2))).eval()
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


def test_same_seed_gives_the_same_weights_and_another_seed_others():
    first, again, other = (network(seed=seed).stem[0].weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_initial_weights_have_the_variance_of_he():
    weights = (
        network(PreActResNetConfig(depth=8, widths=(64, 64, 64))).stage2.blocks[0].branch[0].weight
    )
    # 36,864 draws: the relative standard error of the variance is √(2/n) = 0.7 %.
    assert weights.var().item() == pytest.approx(2 / (9 * 64), rel=0.04)


def test_no_construction_touches_the_global_generator():
    before = torch.random.get_rng_state()
    student, teacher = network(), network(seed=1)
    quantize_model(student, 4, 4, keep_float=["classifier"])
    make_adapters(
        student, teacher, torch.zeros(1, 1, 8, 8), STAGES, torch.Generator().manual_seed(2)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    Block(1, 1, 1, bottleneck=False)  # a plain constructor would have been noticed
    assert not torch.equal(torch.random.get_rng_state(), before)
    torch.random.set_rng_state(before)


def test_taps_are_what_the_next_convolution_reads():
    model = network().eval()
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
    model = network()
    with pytest.raises(RuntimeError, match="channels"), tapped(model, STAGES):
        model(torch.zeros(1, 2, 8, 8))
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("name", ["stage9", ""])
def test_unknown_taps_name_the_nearest(name):
    with (
        pytest.raises(ValueError, match=rf"module '{name}' is not in the network; .*stage"),
        tapped(network(), [name]),
    ):
        pass


def test_a_tap_without_pixels_is_refused():
    with pytest.raises(ValueError, match=r"tap 'classifier' gives shape \(1, 10\); feature maps"):
        make_adapters(
            network(), network(), torch.zeros(1, 1, 8, 8), ["classifier"], torch.Generator()
        )


def test_adapters_map_channels_and_are_trained():
    student, teacher = network(), network(PreActResNetConfig(depth=8, strides=(1, 1, 2)), seed=1)
    running = student.stem[1].running_mean.clone()
    adapters = make_adapters(
        student, teacher, torch.ones(1, 1, 8, 8), STAGES, torch.Generator().manual_seed(2)
    )
    assert [(a[0].in_channels, a[0].out_channels) for a in adapters] == [(4, 16), (4, 32), (8, 64)]
    assert torch.equal(student.stem[1].running_mean, running)
    optimizer = make_optimizer(student, adapters, OptimizerConfig())
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert trained == {id(p) for p in [*student.parameters(), *adapters.parameters()]}


def test_activation_steps_have_their_own_rate_and_no_decay():
    student = quantize_model(network(), 4, 4)
    optimizer = make_optimizer(student, None, OptimizerConfig(lr=0.5))
    _, steps = optimizer.param_groups
    assert (len(steps["params"]), steps["lr"], steps["weight_decay"]) == (7, 0.005, 0)
    assert optimizer.param_groups[0]["weight_decay"] == 1e-4


def test_calibrated_norms_hold_the_statistics_of_the_images():
    student = quantize_model(network(), 4, 4)
    images = 3 + 2 * torch.randn(50, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    calibrate(student, images)
    maps, norm = student.stem[0](images), student.stem[1]
    torch.testing.assert_close(norm.running_mean, maps.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(norm.running_var, maps.var(dim=(0, 2, 3)))
    assert norm.momentum == 0.1


def test_random_shift_moves_each_image_as_a_loop_would():
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(1, 17, (200, 2, 5, 4), generator=generator, dtype=torch.uint8)
    shifted = random_shift(images, 1, torch.Generator().manual_seed(4))
    seen = set()
    for before, after in zip(images.numpy(), shifted.numpy(), strict=True):
        padded = np.pad(before, ((0, 0), (1, 1), (1, 1)))
        fits = [
            (dy, dx)
            for dy in range(3)
            for dx in range(3)
            if np.array_equal(padded[:, dy : dy + 5, dx : dx + 4], after)
        ]
        assert len(fits) == 1
        seen.update(fits)
    assert len(seen) == 9


def test_splits_are_disjoint_and_normalised_by_the_training_split():
    splits = {name: load_images("digits", name) for name in ("train", "validation", "test")}
    assert [len(images) for images in splits.values()] == [1197, 300, 300]
    rows = torch.cat([images.flatten(1) for images in splits.values()])
    assert len(rows.unique(dim=0)) == 1797  # all images of the set differ
    inputs = make_preparation(splits["train"], shift=1)(splits["train"])
    assert abs(inputs.mean().item()) < 1e-5
    assert inputs.std().item() == pytest.approx(1, abs=1e-5)


def test_feature_file_holds_pairs_that_plain_numpy_reads(tmp_path):
    student, teacher = network(), network(seed=1)
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
