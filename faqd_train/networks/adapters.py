"""The student's side of FA: a 1×1 convolution and ReLU per tap, dropped after training (§7)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from faqd_train.networks.resnet import initialise
from faqd_train.networks.taps import tapped


def make_adapters(
    student: nn.Module,
    teacher: nn.Module,
    images: Tensor,
    taps: Sequence[str],
    generator: torch.Generator,
    *,
    teacher_taps: Sequence[str] | None = None,
) -> nn.ModuleList:
    """Make one adapter per tap, from the student's channels to the teacher's, of its dtype.

    Parameters
    ----------
    student, teacher : nn.Module
        Networks with modules of the tapped names; they keep their mode.
    images : Tensor (B, C, H, W)
        A few inputs, run once to learn the channels.
    taps : strings
        Names of the student's modules; the adapters come in this order.
    generator : torch.Generator
        Source of the weights; the global generator is not touched.
    teacher_taps : strings, optional
        Names of the teacher's modules, one for each tap; by default the same names.

    Returns
    -------
    nn.ModuleList
        Give its parameters to the optimizer beside the student's.

    Raises
    ------
    ValueError
        If a name is unknown, or a tapped output is not a feature map.
    """
    student_channels = _channels(student, images, taps)
    teacher_channels = _channels(teacher, images, teacher_taps or taps)
    with torch.device("meta"):
        adapters = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inner, outer, 1), nn.ReLU())
            for inner, outer in zip(student_channels, teacher_channels, strict=True)
        )
    adapters.to_empty(device="cpu")  # where the generator draws
    initialise(adapters, generator)
    return adapters.to(images.device, next(student.parameters()).dtype)


def adapt(
    maps: dict[str, Tensor], adapters: nn.ModuleList | None, taps: Sequence[str]
) -> dict[str, Tensor]:
    """Return the student's maps as FA compares them, after their adapters."""
    return {tap: adapter(maps[tap]) for tap, adapter in zip(taps, adapters or (), strict=True)}


class WithAdapters(nn.Module):
    """A student and its adapters as one network, which gives logits and adapted maps.

    ``maps`` is the dictionary that `tapped` refills. Without ``to_logits`` no gradient comes from
    the logits.
    """

    def __init__(
        self,
        student: nn.Module,
        adapters: nn.ModuleList | None,
        maps: dict[str, Tensor],
        taps: tuple[str, ...],
        to_logits: bool,
    ) -> None:
        super().__init__()
        self.student, self.adapters = student, adapters
        self._maps, self._taps, self._to_logits = maps, taps, to_logits

    def forward(self, inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (B, classes) and, by tap, maps as FA compares them."""
        logits = self.student(inputs)
        maps = adapt(self._maps, self.adapters, self._taps)
        self._maps.clear()  # or they stay until the next pass
        return logits if self._to_logits else logits.detach(), maps


@torch.no_grad()
def _channels(network: nn.Module, images: Tensor, names: Sequence[str]) -> list[int]:
    training = network.training
    network.eval()  # leaves the batch norms' running statistics alone
    with tapped(network, names) as maps:
        network(images.to(next(network.parameters(), images).device))
    network.train(training)
    for name in names:
        features = maps.get(name)
        shape = tuple(features.shape) if isinstance(features, Tensor) else ()
        if len(shape) != 4:
            given = f"shape {shape}" if shape else "no tensor, or is not run"
            raise ValueError(
                f"tap {name!r} gives {given}; feature maps (B, C, H, W) are accepted: tap a "
                f"convolutional stage."
            )
    return [maps[name].shape[1] for name in names]
