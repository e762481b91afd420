"""One place where every input is judged: what came, what is accepted, what to do."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

_EXACT_IN_FLOAT64 = (np.float16, np.float32, np.float64)


def check_array(value: Any, name: str) -> Array:
    """Return a finite real floating array as float64, which holds it exactly."""
    if not isinstance(value, np.ndarray):
        raise TypeError(
            f"{name} is a {type(value).__name__}; a NumPy array is accepted: convert it with "
            f"np.asarray(..., dtype=float) (a torch tensor with .detach().cpu().numpy())."
        )
    if value.dtype.type not in _EXACT_IN_FLOAT64:
        raise TypeError(
            f"{name} has dtype {value.dtype}; float16, float32 and float64 are accepted: "
            f"convert it on purpose with {name}.astype(float)."
        )
    array = value.astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        raise ValueError(
            f"{name} holds {np.count_nonzero(~np.isfinite(array))} entries that are NaN or "
            f"infinite; only finite values are accepted: find where they arise first."
        )
    return array


def check_features(features: Any, name: str) -> Array:
    """Return feature maps as a float64 batch (B, C, H, W); a single map becomes B = 1."""
    array = check_array(features, name)
    if array.ndim not in (3, 4):
        raise ValueError(
            f"{name} has shape {array.shape}; (C, H, W) or (B, C, H, W) is accepted: "
            f"reshape it to a feature map or a batch of them."
        )
    if array.size == 0:
        raise ValueError(
            f"{name} has shape {array.shape}, which is empty; at least one sample, channel and "
            f"pixel is needed: drop empty batches before the call."
        )
    return array if array.ndim == 4 else array[np.newaxis]


def check_pair(student: Any, teacher: Any) -> tuple[Array, Array]:
    """Return both maps as batches of equal length; channels and sizes may differ."""
    student_batch = check_features(student, "student")
    teacher_batch = check_features(teacher, "teacher")
    if np.ndim(student) != np.ndim(teacher) or len(student_batch) != len(teacher_batch):
        raise ValueError(
            f"student has shape {np.shape(student)} and teacher {np.shape(teacher)}; both must be "
            f"single maps or batches of the same length: pair each student map with its teacher's."
        )
    return student_batch, teacher_batch


def check_probes(probes: Any, n: int, batch: int) -> Array:
    """Return probes that fit N pixels: (N, k) shared by the batch, or (B, N, k)."""
    array = check_array(probes, "probes")
    if array.ndim not in (2, 3) or array.shape[-1] < 1:
        raise ValueError(
            f"probes has shape {array.shape}; (N, k) or (B, N, k) with k >= 1 is accepted: "
            f"draw them with sample_probes."
        )
    if array.shape[-2] != n or (array.ndim == 3 and len(array) != batch):
        raise ValueError(
            f"probes has shape {array.shape}, but the student has {n} pixels in a batch of "
            f"{batch}; ({n}, k) or ({batch}, {n}, k) is accepted: draw them for this map."
        )
    return array


def check_rng(rng: Any) -> np.random.Generator:
    """Return a generator that the caller owns; seeds and global state are refused."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"rng is a {type(rng).__name__}; a numpy.random.Generator is accepted: "
            f"make one with np.random.default_rng(seed) and pass it along."
        )
    return rng


def check_count(value: Any, name: str, *, at_least: int = 1) -> int:
    """Return an integer of at least ``at_least``; booleans and floats are refused."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
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


def check_number(
    value: Any, name: str, *, above: float = -np.inf, below: float = np.inf, hint: str
) -> float:
    """Return a finite real number strictly between ``above`` and ``below``."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(
        value, (int, float, np.integer, np.floating)
    ):
        raise TypeError(f"{name} is a {type(value).__name__}; a real number is accepted: {hint}.")
    if not (above < value < below) or not np.isfinite(value):
        raise ValueError(
            f"{name} is {value}; a finite number above {above:g} and below {below:g} is "
            f"accepted: {hint}."
        )
    return float(value)


def check_choice(value: Any, name: str, accepted: Collection[Any]) -> None:
    """Refuse a value that is not among the accepted ones."""
    if value not in accepted:
        options = ", ".join(repr(option) for option in accepted)
        raise ValueError(f"{name} is {value!r}; accepted are {options}: choose one of them.")


def check_spectrum(spectrum: Any) -> Array:
    """Return the eigenvalues of one affinity gap as a float64 vector (r,)."""
    array = check_array(spectrum, "spectrum")
    if array.ndim != 1:
        raise ValueError(
            f"spectrum has shape {array.shape}; a vector of the gap's eigenvalues is accepted: "
            f"take one sample's row of gap_spectrum(student, teacher)."
        )
    return array


def reduce_samples(values: Array, reduction: str, *, single: bool) -> Any:
    """Reduce one value per sample (B,) by "mean", "sum" or "none"; a single map gives a float."""
    if single:
        return float(values[0])
    if reduction == "none":
        return values
    return float(values.mean() if reduction == "mean" else values.sum())
