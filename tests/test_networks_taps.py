"""Taps read what the tapped module gave, also where a later module overwrites it."""

import pytest
import torch
from tiny_runs import tiny
from torch import nn

from faqd_train import distill
from faqd_train.networks.taps import tapped


class Overwriting(nn.Module):
    """Somebody's network, whose maps are overwritten: always, in training alone, or not at all."""

    def __init__(self, when="always", width=4, classes=10):
        super().__init__()
        self.when = when
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            self.first = nn.Conv2d(1, width, 3, padding=1)
            self.second = nn.Conv2d(width, width, 3, padding=1)
            self.head = nn.Linear(width, classes)

    def forward(self, inputs):
        inner = self.first(inputs)
        overwrites = {"always": True, "never": False, "in training": self.training}[self.when]
        inner = nn.functional.relu(inner, inplace=overwrites)
        return self.head(self.second(inner).mean(dim=(2, 3)))


def images(seed=0):
    return torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("when", ["always", "in training", "never"])
def test_a_map_is_as_its_module_gave_it(when, mode):
    network = Overwriting(when)
    with tapped(network, ["first"]) as maps, mode():
        for training in (True, False, True, False):
            for seed in (0, 1):
                network.train(training)(images(seed))
                assert torch.equal(maps["first"], network.first(images(seed)))
                assert (maps["first"] < 0).any()  # not so once overwritten


@pytest.mark.parametrize("when", ["always", "in training", "never"])
def test_only_an_overwritten_map_is_copied_once_that_is_known(when):
    network, given = Overwriting(when), []
    network.first.register_forward_hook(lambda *arguments: given.append(arguments[-1]))
    with tapped(network, ["first"]) as maps:
        for training in (True, False, True, False):
            network.train(training)(images())
            copied = maps["first"] is not given[-1]
            assert copied == (when == "always" or (when == "in training" and training))


def test_the_gradient_passes_through_the_map_as_if_nothing_were_overwritten():
    gradients = []
    for when in ("always", "never"):
        network = Overwriting(when)
        with tapped(network, ["first"]) as maps:
            loss = network(images()).square().sum() + maps["first"].pow(3).sum()
        torch.autograd.backward(loss)
        gradients.append(network.first.weight.grad)
    assert torch.equal(*gradients)


def test_a_network_that_begins_to_overwrite_is_refused():
    network = Overwriting("never")
    with tapped(network, ["first"]):
        network(images())
        network.when = "always"
        with pytest.raises(ValueError, match="map at tap 'first' is overwritten by a later module"):
            network(images())


def test_networks_that_overwrite_are_distilled_as_those_that_do_not():
    config = tiny("digits-fa", 'objective.fa.taps=["first"]', "quantization.activations=none")
    losses = []
    for when in ("always", "never"):
        teacher, student = Overwriting(when, width=6), Overwriting(when)
        epochs = distill(teacher, student, images().repeat(10, 1, 1, 1), config)
        losses.append([epoch.terms for epoch in epochs])
    assert losses[0] == losses[1]
