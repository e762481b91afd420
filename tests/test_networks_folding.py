"""Teachers copied for inference: folded norms change nothing, and low precision stays near."""

import copy

import pytest
import torch
from networks import SMALL, TwoHeads, images
from torch import nn

from faqd_train.config.schema import PreActResNetConfig
from faqd_train.networks import folding
from faqd_train.networks.folding import fold_norms, inference_copy
from faqd_train.networks.resnet import preact_resnet
from faqd_train.networks.taps import tapped
from faqd_train.quantization.model import quantize_model

NETWORKS = {
    "basic": (SMALL, 8),
    "bottleneck": (
        PreActResNetConfig(depth=11, widths=(4, 4, 8), strides=(1, 1, 2), bottleneck=True),
        8,
    ),
    "ResNet-18 with a large stem": (
        PreActResNetConfig(depth=18, widths=(4, 8, 8, 16), strides=(1, 2, 2, 2), stem="large"),
        64,
    ),
}


def drawn(network, seed=0):
    """Draw every parameter and statistic, so that no norm is near the identity."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            if module.track_running_stats:
                module.running_mean.normal_(generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
            if module.affine:
                nn.init.uniform_(module.weight, -2, 2, generator=generator)
                nn.init.normal_(module.bias, generator=generator)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.normal_(module.bias, generator=generator)
    return network.double().eval()


def resnet(name, seed=0):
    config, side = NETWORKS[name]
    generator = torch.Generator().manual_seed(seed)
    network = preact_resnet(config, in_channels=3, classes=10, side=side, generator=generator)
    return drawn(network, seed), torch.randn(3, 3, side, side, generator=generator).double()


def layers(*modules):
    """Make modules without a draw from the global generator."""
    with torch.device("meta"):
        made = [module() for module in modules]
    return [module.to_empty(device="cpu") for module in made]


def conv(width=3, **options):
    return lambda: nn.Conv2d(width, width, 3, padding=1, **options)


def norm(width=3, **options):
    return lambda: nn.BatchNorm2d(width, **options)


def sequential(*modules):
    return drawn(nn.Sequential(*layers(*modules)))


def inputs(seed=0):
    return torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(seed)).double()


class Composed(nn.Module):
    """Two convolutions and two norms, in the order that a function gives."""

    def __init__(self, compute):
        super().__init__()
        self.a, self.b, self.m, self.n = layers(conv(), conv(), norm(), norm())
        self.compute = compute

    def forward(self, x):
        return self.compute(self, x)


def tied_convolution(s, x):
    return s.n(s.a(s.m(s.a(x))))


def tied_norm(s, x):
    return s.m(s.b(s.m(s.a(x))))


def two_norms(s, x):
    maps = s.a(x)
    return s.m(maps) + s.n(maps)


def norm_and_sum(s, x):
    maps = s.a(x)
    return maps + s.m(maps)


def norm_of_a_sum(s, x):
    return s.m(s.a(x) + s.b(x))


def parameter_read_elsewhere(s, x):
    return s.m(s.a(x)) * s.a.weight.sum()


def branch_on_values(s, x):
    return s.m(s.a(x)) if x.sum() > 0 else s.n(s.b(x))


def assert_same_answers(network, changed, x, taps=()):
    with torch.no_grad(), tapped(network, taps) as maps:
        expected = {"": network(x)} | maps
    with torch.no_grad(), tapped(changed, taps) as maps:
        found = {"": changed(x)} | maps
    for name, values in expected.items():
        # Rounding of sums of up to 9·16 products through 20 layers, each of relative size u, that
        # grows with the layers' gain: 1e-15 to 1e-14 here.
        torch.testing.assert_close(found[name], values, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("name", "blocks", "inner"), [("basic", 3, 1), ("bottleneck", 3, 2), ("ResNet-18", 8, 1)]
)
def test_every_norm_within_a_branch_is_folded_and_none_after_a_sum(name, blocks, inner):
    network, x = resnet(next(key for key in NETWORKS if key.startswith(name)))
    answers = inference_copy(network, x, network.stage_names)
    assert len(answers.folded) == 1 + blocks * inner  # the stem's, too
    assert answers.folded[0] == "stem.1"
    assert all("branch" in norm for norm in answers.folded[1:])
    assert all(isinstance(answers.network.get_submodule(n), nn.Identity) for n in answers.folded)
    assert_same_answers(network, answers.network, x, network.stage_names)


@pytest.mark.parametrize("options", [{}, {"affine": False}, {"eps": 0.1}])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("groups", [1, 3])
def test_norms_of_every_kind_are_folded(options, bias, groups):
    network = sequential(conv(bias=bias, groups=groups), norm(**options), nn.ReLU)
    folded = copy.deepcopy(network)
    assert fold_norms(folded) == ("1",)
    assert_same_answers(network, folded, inputs())


@pytest.mark.parametrize(
    "compute",
    [
        tied_convolution,
        tied_norm,
        two_norms,
        norm_and_sum,
        norm_of_a_sum,
        parameter_read_elsewhere,
        branch_on_values,
    ],
)
def test_a_norm_stays_where_folding_is_no_identity_or_not_proven(compute):
    network = drawn(Composed(compute))
    answers = inference_copy(network, inputs())
    assert answers.folded == ()
    assert_same_answers(network, answers.network, inputs())


def test_shared_weights_watched_modules_and_norms_of_the_batch_stay():
    shared = Composed(lambda s, x: s.n(s.b(s.m(s.a(x)))))
    shared.b.weight = shared.a.weight
    watched = Composed(lambda s, x: s.n(s.b(s.m(s.a(x)))))
    watched.a.register_forward_hook(lambda _module, _inputs, output: output + 1)
    batch = sequential(conv(), lambda: nn.BatchNorm2d(3, track_running_stats=False))
    assert fold_norms(drawn(shared)) == ()
    assert fold_norms(drawn(watched)) == ("n",)
    assert fold_norms(batch) == ()
    assert fold_norms(sequential(conv(), norm()).train()) == ()


def test_quantized_convolutions_stay():
    network = quantize_model(sequential(conv(), norm(), nn.ReLU), 2, 32)
    assert fold_norms(network.eval()) == ()


def test_a_tapped_convolution_keeps_its_map():
    network = sequential(conv(), norm(), nn.ReLU, conv(), norm())
    answers = inference_copy(network, inputs(), ["0", "4"])
    assert answers.folded == ("4",)
    assert_same_answers(network, answers.network, inputs(), ["0", "4"])


def test_a_tapped_container_that_ends_in_a_convolution_keeps_its_map():
    """Names do not tell that this fold changes a tapped map; the measured error does."""
    network = drawn(nn.Sequential(nn.Sequential(*layers(conv())), *layers(norm())))
    assert fold_norms(copy.deepcopy(network)) == ("1",)
    answers = inference_copy(network, inputs(), ["0"])
    assert answers.folded == ()
    assert_same_answers(network, answers.network, inputs(), ["0"])


def test_a_wrong_fold_is_caught(monkeypatch):
    def without_epsilon(weight, bias, mean, variance, _epsilon, *affine):
        return fuse(weight, bias, mean, variance, 0.0, *affine)

    fuse = folding.fuse_conv_bn_weights
    monkeypatch.setattr(folding, "fuse_conv_bn_weights", without_epsilon)
    network, x = resnet("basic")
    folded = copy.deepcopy(network)
    fold_norms(folded)
    with pytest.raises(AssertionError, match="not close"):
        assert_same_answers(network, folded, x)


def test_somebodys_network_is_folded_though_it_overwrites_the_norms_map():
    with torch.device("meta"):
        network = TwoHeads(4)
    network = drawn(network.to_empty(device="cpu"))
    x = images(dtype=torch.float64)
    answers = inference_copy(network, x, ["features.1"])
    assert answers.folded == ("features.1",)
    assert_same_answers(network, answers.network, x, ["features.1"])


@pytest.mark.parametrize("training", [False, True])
def test_the_network_itself_stays_as_it_is(training):
    network, x = resnet("basic")
    network.train(training)
    before, modules = copy.deepcopy(network.state_dict()), dict(network.named_modules())
    answers = inference_copy(network, x, precision="bfloat16")
    assert not answers.network.training
    assert network.training == training
    assert dict(network.named_modules()) == modules
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(value.is_contiguous() for value in network.state_dict().values())
    assert not any(module._forward_hooks for module in network.modules())


def test_the_copy_lies_channels_last():
    network, x = resnet("basic")
    answers = inference_copy(network.float(), x.float(), ["stage2"])
    with torch.no_grad(), tapped(answers.network, ["stage2"]) as maps:
        answers.network(x.float())
    assert maps["stage2"].is_contiguous(memory_format=torch.channels_last)


def test_bfloat16_is_kept_within_the_tolerance_and_refused_beyond():
    network, x = resnet("basic")
    network, x = network.float(), x.float()
    free = inference_copy(network, x, ["stage1", "stage3"], precision="bfloat16")
    assert free.precision == "bfloat16"
    assert set(free.errors) == {"", "stage1", "stage3"}
    worst = max(free.errors.values())
    # u = 2⁻⁸ a rounding, through seven layers: nearer it would not be bfloat16 that was measured.
    assert 2.0**-10 < worst < 2.0**-3
    for tolerance, precision in ((1.01 * worst, "bfloat16"), (0.99 * worst, "float32")):
        answers = inference_copy(
            network, x, ["stage1", "stage3"], precision="bfloat16", tolerance=tolerance
        )
        assert answers.precision == precision
    assert answers.refused == free.errors
    assert max(answers.errors.values()) < 1e-5  # of float32, folded


def test_logits_that_are_not_finite_do_not_pass_for_near():
    network, x = resnet("basic")
    with torch.no_grad():
        network.classifier.bias[0] = torch.nan
    answers = inference_copy(network, x, precision="bfloat16", tolerance=1.0)
    assert (answers.precision, answers.folded) == ("float32", ())
