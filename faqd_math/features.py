"""Feature maps as unit pixel vectors, and the affinity matrix they span (§1)."""

from __future__ import annotations

from typing import Any

import numpy as np

from faqd_math._validation import Array, check_features, check_pair


def unit_pixels(features: Array) -> tuple[Array, Array]:
    """Split a batch of maps into unit pixel vectors and their norms.

    Parameters
    ----------
    features : array (B, C, H, W)
        Validated feature maps.

    Returns
    -------
    unit : array (B, C, N)
        x_i = F_i/‖F_i‖ with N = H·W, and 0 at dead pixels (F_i = 0).
    norms : array (B, 1, N)
        ‖F_i‖.

    Notes
    -----
    Each pixel is first divided by its largest magnitude, so that neither overflow nor underflow
    of the squares can turn a live pixel into a dead or an infinite one.
    """
    pixels = features.reshape(*features.shape[:2], -1)
    peak = np.abs(pixels).max(axis=1, keepdims=True)
    scaled = np.divide(pixels, peak, out=np.zeros_like(pixels), where=peak > 0)
    scaled_norm = np.linalg.norm(scaled, axis=1, keepdims=True)
    unit = np.divide(scaled, scaled_norm, out=scaled, where=scaled_norm > 0)
    return unit, peak * scaled_norm


def resize_bilinear(features: Array, size: tuple[int, int]) -> Array:
    """Resize maps (B, C, H, W) to ``size`` bilinearly with aligned corners (§1)."""
    if features.shape[2:] == size:
        return features
    rows = _interpolation_matrix(features.shape[2], size[0])
    columns = _interpolation_matrix(features.shape[3], size[1])
    return rows @ features @ columns.T


def _interpolation_matrix(n_in: int, n_out: int) -> Array:
    """Linear interpolation from n_in to n_out equidistant points that share both ends."""
    position = np.linspace(0, n_in - 1, n_out) if n_out > 1 else np.zeros(1)
    left = np.minimum(position.astype(int), max(n_in - 2, 0))
    right = np.minimum(left + 1, n_in - 1)
    weight = position - left
    matrix = np.zeros((n_out, n_in))
    row = np.arange(n_out)
    np.add.at(matrix, (row, left), 1 - weight)
    np.add.at(matrix, (row, right), weight)
    return matrix


def unit_pixel_pair(student: Any, teacher: Any) -> tuple[Array, Array, Array]:
    """Validate a pair, resize the teacher to the student, and normalise both.

    Returns
    -------
    x : array (B, C_s, N)
        Unit pixel vectors of the student.
    y : array (B, C_t, N)
        Unit pixel vectors of the teacher, at the student's resolution.
    norms : array (B, 1, N)
        The student's pixel norms, which the gradients divide by.
    """
    student_batch, teacher_batch = check_pair(student, teacher)
    size = (student_batch.shape[2], student_batch.shape[3])
    x, norms = unit_pixels(_distinct(student_batch))
    y, _ = unit_pixels(resize_bilinear(_distinct(teacher_batch), size))
    batch = len(student_batch)
    return _copies(x, batch), _copies(y, batch), _copies(norms, batch)


def _distinct(batch: Array) -> Array:
    """One sample, where `np.broadcast_to` has made a batch of copies of it."""
    return batch[:1] if batch.strides[0] == 0 else batch


def _copies(samples: Array, batch: int) -> Array:
    return (
        samples if len(samples) == batch else np.broadcast_to(samples, (batch, *samples.shape[1:]))
    )


def affinity(features: Any) -> Array:
    """Affinity S = XᵀX: the cosine similarity of every two pixels (§1, I1).

    Parameters
    ----------
    features : array (C, H, W) or (B, C, H, W)
        Feature maps; float16, float32 or float64.

    Returns
    -------
    array (N, N) or (B, N, N), float64
        With N = H·W. Rows and columns of dead pixels are 0.

    Raises
    ------
    TypeError
        If ``features`` is not a floating NumPy array.
    ValueError
        If its rank is not 3 or 4, or it is empty, NaN or infinite.

    Examples
    --------
    Two pixels of two channels, at 60° to each other:

    >>> import numpy as np
    >>> pixels = np.array([[1.0, 1.0], [0.0, np.sqrt(3)]])
    >>> affinity(pixels.reshape(2, 1, 2)).round(3)
    array([[1. , 0.5],
           [0.5, 1. ]])
    """
    x, _ = unit_pixels(check_features(features, "features"))
    similarities = x.mT @ x
    return similarities if np.ndim(features) == 4 else similarities[0]
