"""Random probe matrices Z, isotropic: E zzᵀ = I (§1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np

from faqd_math._validation import Array, check_choice, check_count, check_rng

ProbeLaw = Literal["gaussian", "rademacher", "sphere", "orthogonal"]
PROBE_LAWS: tuple[ProbeLaw, ...] = get_args(ProbeLaw)


def _gaussian(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return rng.standard_normal(shape)


def _rademacher(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return 2.0 * rng.integers(0, 2, shape) - 1.0


def _sphere(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    z = rng.standard_normal(shape)
    return np.sqrt(shape[-2]) * z / np.linalg.norm(z, axis=-2, keepdims=True)


def _orthogonal(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    # QR of a gaussian matrix, with the signs of R's diagonal given back to the columns of Q:
    # without them Q is not Haar distributed (Mezzadri 2007, arXiv math-ph/0609050).
    q, r = np.linalg.qr(rng.standard_normal(shape))
    signs = np.copysign(1.0, np.diagonal(r, axis1=-2, axis2=-1))
    return np.sqrt(shape[-2]) * q * signs[..., np.newaxis, :]


_SAMPLERS: dict[ProbeLaw, Callable[[tuple[int, ...], np.random.Generator], Array]] = {
    "gaussian": _gaussian,
    "rademacher": _rademacher,
    "sphere": _sphere,
    "orthogonal": _orthogonal,
}


def sample_probes(
    n: int,
    k: int,
    *,
    law: ProbeLaw = "gaussian",
    rng: np.random.Generator,
    batch: int | None = None,
) -> Array:
    """Draw k probes for maps of n pixels (§1).

    Parameters
    ----------
    n : int
        Pixels N = H·W of the student's map.
    k : int
        Probes; at most n for orthogonal ones.
    law : {"gaussian", "rademacher", "sphere", "orthogonal"}
        Standard normal entries; random signs; uniform on the sphere of radius √n; √n times
        Haar-distributed orthonormal columns.
    rng : numpy.random.Generator
        The caller's generator. Draw anew for each call of the loss: training against fixed
        probes can drive FFA to zero while FA stays.
    batch : int, optional
        Draw independent probes for this many samples.

    Returns
    -------
    array (n, k) or (batch, n, k), float64

    Raises
    ------
    TypeError
        If n, k or batch is not an integer, or rng is not a Generator.
    ValueError
        If n, k or batch is below 1, the law unknown, or k > n for orthogonal probes.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> z = sample_probes(9, 4, law="orthogonal", rng=rng)
    >>> bool(np.allclose(z.T @ z, 9 * np.eye(4)))
    True
    """
    n, k = check_count(n, "n"), check_count(k, "k")
    check_choice(law, "law", PROBE_LAWS)
    check_rng(rng)
    if law == "orthogonal" and k > n:
        raise ValueError(
            f"k is {k}, but orthogonal probes of {n} pixels allow k <= {n}: "
            f"lower k or choose another law."
        )
    leading: tuple[Any, ...] = () if batch is None else (check_count(batch, "batch"),)
    return _SAMPLERS[law]((*leading, n, k), rng)
