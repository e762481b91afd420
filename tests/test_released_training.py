"""What the released scripts hand to optimizer and quantizer, on the names of a small ResNet."""

import numpy as np
import pytest

from faqd_math.released.training import QUANTIZED_GROUP, parameter_groups, reseeded_probes

STUDENT = dict.fromkeys(
    (
        "conv1.weight",
        "bn1.weight",
        "bn1.bias",
        "relu.alpha",
        "layer2.0.conv2.weight",
        "layer2.0.downsample.0.weight",
        "fc.weight",
        "fc.bias",
    )
)
ADAPTERS = dict.fromkeys(("stage1.weight", "stage1.bias"))
CONVOLUTIONS = ["conv1.weight", "layer2.0.conv2.weight"]
# The 1×1 shortcut goes with them, as "conv" is not in its name.
OTHERS = ["bn1.weight", "layer2.0.downsample.0.weight", "fc.weight"]


def names(script):
    return [list(group) for group in parameter_groups(STUDENT, ADAPTERS, script=script)]


def test_weights_only_script_takes_convolutions_first_and_no_adapter():
    assert names("weights only") == [CONVOLUTIONS, OTHERS, ["bn1.bias", "fc.bias"]]


def test_full_script_takes_convolutions_second_and_the_adapters():
    biases = ["bn1.bias", "fc.bias"]
    assert names("full") == [OTHERS, CONVOLUTIONS, biases, ["relu.alpha"], list(ADAPTERS)]
    assert names("full")[QUANTIZED_GROUP["CIFAR"]] == CONVOLUTIONS
    assert names("full")[QUANTIZED_GROUP["Tiny ImageNet"]] == OTHERS


def test_parameters_pass_as_they_are():
    weight = np.ones(3)
    assert parameter_groups({"conv.weight": weight}, {}, script="full")[1]["conv.weight"] is weight


def test_unknown_scripts_are_refused():
    with pytest.raises(ValueError, match="script is 'half'; accepted are 'weights only', 'full'"):
        parameter_groups({}, {}, script="half")


def test_reseeding_repeats_the_probes_and_what_is_drawn_after():
    state = np.random.default_rng(1).bit_generator.state
    drawn = []
    for seed in (2, 3):
        rng = np.random.default_rng(seed)
        drawn.append((reseeded_probes(4, 2, rng=rng, state=state), rng.random()))
    (first, after), (second, after_second) = drawn
    assert (first == second).all()
    assert (first == np.random.default_rng(1).standard_normal((4, 2))).all()
    assert after == after_second


def test_reseeding_refuses_seeds_for_generators():
    with pytest.raises(TypeError, match="rng is a int"):
        reseeded_probes(4, 2, rng=1, state={})
