"""Pre-activation ResNets for small images (He et al. 2016b), drawn from a passed generator."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from faqd_train.config.networks import PreActResNetConfig

LARGE_SIDE = 128  # pixels


class Block(nn.Module):
    """A residual block whose input is already activated; it returns the bare sum.

    Its branch is conv (norm ReLU conv)*: two 3×3 convolutions, or 1×1, 3×3, 1×1 with a fourth
    of the width in between. The shortcut is a 1×1 convolution where the shape changes.
    """

    def __init__(self, channels: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        if bottleneck:
            inner = width // 4
            self.branch = nn.Sequential(
                _conv(channels, inner, 1),
                *_activate(inner),
                _conv(inner, inner, 3, stride),
                *_activate(inner),
                _conv(inner, width, 1),
            )
        else:
            self.branch = nn.Sequential(
                _conv(channels, width, 3, stride), *_activate(width), _conv(width, width, 3)
            )
        keeps_shape = stride == 1 and channels == width
        self.shortcut = None if keeps_shape else _conv(channels, width, 1, stride)

    def forward(self, trunk: Tensor, activated: Tensor) -> Tensor:
        """Add the branch to the trunk, or to the projection of the activated input."""
        shortcut = trunk if self.shortcut is None else self.shortcut(activated)
        total: Tensor = shortcut + self.branch(activated)
        return total


class Stage(nn.Module):
    """Blocks of one width. It takes activated maps and returns activated maps, after a ReLU.

    The norm and ReLU that He et al. put before a block come after the block before it, so that
    a stage's output is what the next convolution reads. That is the map to tap: non-negative,
    as in the released code (FA ≤ 1 there, I3). The trunk of a stage starts at its activated
    input: the first shortcut, projected or not, comes after the activation.
    """

    def __init__(
        self, channels: int, width: int, stride: int, blocks: int, bottleneck: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(width if i else channels, width, 1 if i else stride, bottleneck)
            for i in range(blocks)
        )
        self.activations = nn.ModuleList(nn.Sequential(*_activate(width)) for _ in range(blocks))

    def forward(self, activated: Tensor) -> Tensor:
        """Run the blocks on maps (B, C, H, W)."""
        trunk = activated
        for block, activation in zip(self.blocks, self.activations, strict=True):
            trunk = block(trunk, activated)
            activated = activation(trunk)
        return activated


class PreActResNet(nn.Module):
    """Stem, stages ``stage1`` … and a linear ``classifier`` on the mean of the last map."""

    def __init__(
        self, config: PreActResNetConfig, in_channels: int, classes: int, side: int
    ) -> None:
        super().__init__()
        expansion = 4 if config.bottleneck else 1
        channels = config.widths[0]
        large = config.stem == "large" or (config.stem == "auto" and side >= LARGE_SIDE)
        self.stem = nn.Sequential(
            _conv(in_channels, channels, 7, 2) if large else _conv(in_channels, channels, 3),
            *_activate(channels),
            *([nn.MaxPool2d(3, stride=2, padding=1)] if large else []),
        )
        self.stage_names = tuple(f"stage{i + 1}" for i in range(len(config.widths)))
        for name, base, stride, blocks in zip(
            self.stage_names, config.widths, config.strides, config.stage_blocks, strict=True
        ):
            width = base * expansion
            self.add_module(name, Stage(channels, width, stride, blocks, config.bottleneck))
            channels = width
        self.classifier = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, classes) of images (B, C, H, W)."""
        maps = self.stem(images)
        for name in self.stage_names:
            maps = self.get_submodule(name)(maps)
        logits: Tensor = self.classifier(maps.mean(dim=(2, 3)))
        return logits


def preact_resnet(
    config: PreActResNetConfig,
    *,
    in_channels: int,
    classes: int,
    side: int = 32,
    generator: torch.Generator,
) -> PreActResNet:
    """Build a pre-activation ResNet with random weights.

    Parameters
    ----------
    config : PreActResNetConfig
        Depth, widths and strides of the stages, and the kind of block. CIFAR's ResNet-20, 56
        and 110 are depths 20, 56 and 110 of the default; ResNet-164 has ``bottleneck``.
        ResNet-18 and 34 have widths 64, 128, 256, 512 and strides 1, 2, 2, 2; the latter blocks
        3, 4, 6, 3.
    in_channels, classes : int
        Channels of the images, and logits.
    side : int
        Of the images, in pixels. From 128 on, stem "auto" is a 7×7 convolution and max pooling,
        which make maps of a quarter of the side, as for ImageNet.
    generator : torch.Generator
        Source of all the weights; the global generator is not touched.

    Returns
    -------
    PreActResNet
        Convolutions drawn by He et al.'s normal law (fan out), the classifier uniformly within
        ±1/√fan_in with bias 0, norms at identity.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> net = preact_resnet(PreActResNetConfig(), in_channels=3, classes=10, generator=generator)
    >>> sum(parameter.numel() for parameter in net.parameters())
    272282
    """
    # Modules made on the meta device draw no random numbers.
    with torch.device("meta"):
        network = PreActResNet(config, in_channels, classes, side)
    network.to_empty(device="cpu")
    initialise(network, generator)
    return network


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Set every parameter and buffer of convolutions, linear layers and batch norms."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(
                module.weight, mode="fan_out", nonlinearity="relu", generator=generator
            )
        elif isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def _conv(channels: int, width: int, side: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, width, side, stride, padding=side // 2, bias=False)


def _activate(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(channels), nn.ReLU()
