"""Post-activation ResNets for CIFAR (He et al. 2016a), named as in public checkpoints."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from faqd_train.networks.resnet import initialise

Shortcut = Literal["conv", "pad"]
WIDTHS = (16, 32, 64)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions, the second ReLU after the sum with the shortcut."""

    def __init__(self, channels: int, width: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.downsample: nn.Module = nn.Identity()
        if (stride, channels) != (1, width):
            self.downsample = (
                PaddedShortcut(channels, width, stride)
                if shortcut == "pad"
                else nn.Sequential(
                    nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width)
                )
            )

    def forward(self, maps: Tensor) -> Tensor:
        """Run the block on maps (B, C, H, W)."""
        branch = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(maps)))))
        result: Tensor = self.relu2(branch + self.downsample(maps))
        return result


class PaddedShortcut(nn.Module):
    """Every ``stride``-th pixel, with channels of zeros on both sides; no parameters."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (width - channels) // 2
        self.after = width - channels - self.before

    def forward(self, maps: Tensor) -> Tensor:
        """Run the shortcut on maps (B, C, H, W)."""
        every = maps[:, :, :: self.stride, :: self.stride]
        return functional.pad(every, (0, 0, 0, 0, self.before, self.after))


class CifarResNet(nn.Module):
    """Stem, ``layer1`` to ``layer3``, and ``fc`` on the mean of the last map.

    A layer's output is the map to tap: it comes after a ReLU, so it is non-negative.
    """

    def __init__(self, depth: int, classes: int, channels: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.relu = nn.ReLU()
        before = WIDTHS[0]
        for index, width in enumerate(WIDTHS):
            blocks = [BasicBlock(before, width, 1 if index == 0 else 2, shortcut)]
            blocks += [BasicBlock(width, width, 1, shortcut) for _ in range((depth - 2) // 6 - 1)]
            self.add_module(f"layer{index + 1}", nn.Sequential(*blocks))
            before = width
        self.fc = nn.Linear(WIDTHS[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, classes) of images (B, C, H, W)."""
        maps = self.relu(self.bn1(self.conv1(images)))
        for name in ("layer1", "layer2", "layer3"):
            maps = self.get_submodule(name)(maps)
        logits: Tensor = self.fc(maps.mean(dim=(2, 3)))
        return logits


def cifar_resnet(
    depth: int = 20,
    *,
    classes: int = 10,
    channels: int = 3,
    shortcut: Shortcut = "conv",
    generator: torch.Generator,
) -> CifarResNet:
    """Build a post-activation ResNet with random weights, for small images.

    Parameters
    ----------
    depth : int
        6n + 2: 20, 32, 44, 56, 110.
    classes, channels : int
        Logits, and channels of the images.
    shortcut : {"conv", "pad"}
        Where the shape changes: a 1×1 convolution and its norm, or pixels skipped and channels
        of zeros added ("option A" of He et al.).
    generator : torch.Generator
        Source of all the weights; the global generator is not touched.

    Raises
    ------
    ValueError
        If the depth is not 6n + 2.

    Examples
    --------
    >>> network = cifar_resnet(20, generator=torch.Generator().manual_seed(0))
    >>> sum(parameter.numel() for parameter in network.parameters())
    272474
    """
    if depth < 8 or (depth - 2) % 6:
        raise ValueError(
            f"depth is {depth}; 6n + 2 is accepted: take {6 * max(1, round((depth - 2) / 6)) + 2}."
        )
    with torch.device("meta"):
        network = CifarResNet(depth, classes, channels, shortcut)
    network.to_empty(device="cpu")
    initialise(network, generator)
    return network
