"""One place where every tensor is judged: what came, what is accepted, what to do."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

FLOATING = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def check_tensor(value: Any, name: str) -> Tensor:
    """Return a dense real floating tensor as it came; its values are judged later."""
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name} is a {type(value).__name__}; a torch tensor is accepted: convert it with "
            f"torch.from_numpy (a NumPy array) or torch.tensor(..., dtype=torch.float64)."
        )
    if value.dtype not in FLOATING:
        raise TypeError(
            f"{name} has dtype {value.dtype}; float64, float32, bfloat16 and float16 are "
            f"accepted: convert it on purpose with {name}.to(torch.float32)."
        )
    if value.layout != torch.strided:
        raise TypeError(
            f"{name} has layout {value.layout}; dense tensors (torch.strided) are accepted: "
            f"convert it with {name}.to_dense()."
        )
    return value


def check_features(features: Any, name: str) -> Tensor:
    """Return feature maps (C, H, W) or (B, C, H, W), of any floating dtype."""
    tensor = check_tensor(features, name)
    if tensor.ndim not in (3, 4):
        raise ValueError(
            f"{name} has shape {tuple(tensor.shape)}; (C, H, W) or (B, C, H, W) is accepted: "
            f"reshape it to a feature map or a batch of them."
        )
    if tensor.numel() == 0:
        raise ValueError(
            f"{name} has shape {tuple(tensor.shape)}, which is empty; at least one sample, "
            f"channel and pixel is needed: drop empty batches before the call."
        )
    return tensor


def check_pair(student: Any, teacher: Any) -> tuple[Tensor, Tensor]:
    """Return a pair on one device, of equal rank and length; channels and sizes may differ."""
    student, teacher = check_features(student, "student"), check_features(teacher, "teacher")
    if student.ndim != teacher.ndim or (student.ndim == 4 and len(student) != len(teacher)):
        raise ValueError(
            f"student has shape {tuple(student.shape)} and teacher {tuple(teacher.shape)}; both "
            f"must be single maps or batches of the same length: pair each student map with its "
            f"teacher's."
        )
    check_constant(teacher, "teacher", student.device)
    return student, teacher


def check_probes(probes: Any, student: Tensor) -> Tensor:
    """Return probes that fit the student's N pixels: (N, k) shared by the batch, or (B, N, k)."""
    tensor = check_tensor(probes, "probes")
    batch = len(student) if student.ndim == 4 else 1
    n = student.shape[-2] * student.shape[-1]
    # One number at a time: torch.compile takes tuples with sizes that it keeps open for unequal.
    shared_fit = tensor.ndim == 2 and tensor.shape[0] == n
    own_fit = tensor.ndim == 3 and tensor.shape[0] == batch and tensor.shape[1] == n
    if not (shared_fit or own_fit) or tensor.shape[-1] < 1:
        raise ValueError(
            f"probes has shape {tuple(tensor.shape)}, but the student has {n} pixels in a batch "
            f"of {batch}; ({n}, k) or ({batch}, {n}, k) with k >= 1 is accepted: draw them with "
            f"sample_probes."
        )
    check_constant(tensor, "probes", student.device)
    return tensor


def check_constant(tensor: Tensor, name: str, device: torch.device) -> None:
    """Refuse a tensor that sits on another device or expects a gradient of its own."""
    if tensor.device != device:
        raise ValueError(
            f"{name} is on {tensor.device} and student on {device}; one device is accepted: "
            f"move it with {name}.to(student.device)."
        )
    if tensor.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            f"{name} requires a gradient, but the loss differentiates the student only; a "
            f"constant is accepted: pass {name}.detach()."
        )


def check_finite(tensor: Tensor, name: str) -> None:
    """Refuse NaN and infinity (one pass over the tensor, and one wait for the device)."""
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise ValueError(
            f"{name} holds {bad} entries that are NaN or infinite; only finite values are "
            f"accepted: find where they arise first."
        )


def check_generator(generator: Any) -> torch.Generator:
    """Return a generator that the caller owns; seeds and global state are refused."""
    if not isinstance(generator, torch.Generator):
        raise TypeError(
            f"generator is a {type(generator).__name__}; a torch.Generator is accepted: make one "
            f"with torch.Generator().manual_seed(seed) and pass it along."
        )
    return generator


def check_count(value: Any, name: str, *, at_least: int = 1) -> int:
    """Return an integer of at least ``at_least``; booleans and floats are refused."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(
            f"{name} is a {type(value).__name__}; an integer is accepted: "
            f"pass {name} as an int of at least {at_least}."
        )
    if value < at_least:
        raise ValueError(
            f"{name} is {value}; an integer of at least {at_least} is accepted: "
            f"choose a larger {name}."
        )
    return int(value)


def check_choice(value: Any, name: str, accepted: Collection[Any]) -> None:
    """Refuse a value that is not among the accepted ones."""
    if value not in accepted:
        options = ", ".join(repr(option) for option in accepted)
        raise ValueError(f"{name} is {value!r}; accepted are {options}: choose one of them.")


def find_module(network: nn.Module, name: str) -> nn.Module:
    """Return the module of that name, or refuse with the nearest names (ValueError)."""
    modules = dict(network.named_modules())
    del modules[""]  # the network itself
    if name not in modules:
        nearest = get_close_matches(name, modules, n=3) or list(dict(network.named_children()))
        raise ValueError(
            f"module {name!r} is not in the network; names from named_modules() are accepted, "
            f"the nearest being {', '.join(nearest)}."
        )
    return modules[name]
