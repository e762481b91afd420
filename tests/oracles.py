"""Naive loops that share no code with the packages: the oracle for the NumPy reference.

Single maps (C, H, W) only; slow on purpose, each line a line of the definitions.
"""

import math

import numpy as np


def resize(features, height, width):
    """Bilinear interpolation with aligned corners, one output pixel at a time."""
    channels, rows, columns = features.shape
    out = np.zeros((channels, height, width))
    for i in range(height):
        for j in range(width):
            u = i * (rows - 1) / (height - 1) if height > 1 else 0.0
            v = j * (columns - 1) / (width - 1) if width > 1 else 0.0
            top, left = min(int(u), rows - 1), min(int(v), columns - 1)
            bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            du, dv = u - top, v - left
            for c in range(channels):
                out[c, i, j] = (
                    (1 - du) * (1 - dv) * features[c, top, left]
                    + (1 - du) * dv * features[c, top, right]
                    + du * (1 - dv) * features[c, bottom, left]
                    + du * dv * features[c, bottom, right]
                )
    return out


def pixel_vectors(features):
    """List the N vectors F_i, row by row."""
    _, height, width = features.shape
    return [features[:, i, j] for i in range(height) for j in range(width)]


def norm(vector):
    return math.hypot(*vector)


def affinity(features):
    pixels = pixel_vectors(features)
    matrix = np.zeros((len(pixels), len(pixels)))
    for i, p in enumerate(pixels):
        for j, q in enumerate(pixels):
            if norm(p) > 0 and norm(q) > 0:
                matrix[i, j] = sum(a / norm(p) * (b / norm(q)) for a, b in zip(p, q, strict=True))
    return matrix


def gap(student, teacher):
    return affinity(student) - affinity(resize(teacher, *student.shape[1:]))


def fa(student, teacher, order=2):
    a = gap(student, teacher)
    n = len(a)
    return sum(abs(a[i, j]) ** order for i in range(n) for j in range(n)) / n**2


def ffa(student, teacher, probes, order=2):
    a = gap(student, teacher)
    n, k = probes.shape
    total = 0.0
    for m in range(k):
        for i in range(n):
            total += abs(sum(a[i, j] * probes[j, m] for j in range(n))) ** order
    return total / (k * n**2)


def fa_gradient(student, teacher, order=2):
    a = gap(student, teacher)
    slope = 2 * a if order == 2 else np.sign(a)
    return _through_cosines(student, slope / len(a) ** 2)


def ffa_gradient(student, teacher, probes, order=2):
    a = gap(student, teacher)
    n, k = probes.shape
    slope = np.zeros((n, n))
    for m in range(k):
        image = a @ probes[:, m]
        outer = np.outer(2 * image if order == 2 else np.sign(image), probes[:, m])
        slope += outer / (k * n**2)
    return _through_cosines(student, slope)


def _through_cosines(student, slope):
    """Chain rule from dL/dS_ij to dL/dF_i by the derivative of each cosine."""
    pixels = pixel_vectors(student)
    gradient = np.zeros((student.shape[0], len(pixels)))
    for i, p in enumerate(pixels):
        for j, q in enumerate(pixels):
            if norm(p) > 0 and norm(q) > 0 and i != j:
                u, v = p / norm(p), q / norm(q)
                cosine = sum(a * b for a, b in zip(u, v, strict=True))
                gradient[:, i] += (slope[i, j] + slope[j, i]) * (v - cosine * u) / norm(p)
    return gradient.reshape(student.shape)
