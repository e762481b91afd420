"""Small networks for the tests, drawn from a generator of their own."""

import shutil

import pytest
import torch
from torch import nn

from faqd_train.config.schema import PreActResNetConfig
from faqd_train.networks.resnet import preact_resnet

compiler_needed = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++"))), reason="torch.compile needs a C++ compiler"
)
SMALL = PreActResNetConfig(depth=8, widths=(4, 4, 8), strides=(1, 1, 2))


def small_resnet(seed=0, config=SMALL, dtype=torch.float32, channels=1):
    """Return by default the float network of the tiny runs."""
    generator = torch.Generator().manual_seed(seed)
    network = preact_resnet(config, in_channels=channels, classes=10, side=8, generator=generator)
    return network.to(dtype)


def images(seed=0, count=6, dtype=torch.float32):
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class TwoHeads(nn.Module):
    """Somebody's network: its own names, its constructor draws from the global generator."""

    def __init__(self, classes, width=4):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.unused = nn.Conv2d(1, 1, 1)
        self.head = nn.Linear(width, classes)

    def forward(self, inputs):
        return self.head(self.features(inputs).mean(dim=(2, 3)))


def no_network(classes):
    return classes
