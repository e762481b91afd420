"""Random probe matrices Z, isotropic: E zzᵀ = I (§1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from faqd_train._validation import check_choice, check_count, check_generator

ProbeLaw = Literal["gaussian", "rademacher", "sphere", "orthogonal"]
Shape = tuple[int, ...]


def _gaussian(shape: Shape, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device, dtype=dtype)


def _rademacher(shape: Shape, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    bits = torch.randint(2, shape, generator=generator, device=generator.device, dtype=dtype)
    return 2 * bits - 1


def _sphere(shape: Shape, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    z = _gaussian(shape, generator, dtype)
    return shape[-2] ** 0.5 * z / torch.linalg.vector_norm(z, dim=-2, keepdim=True)


def _orthogonal(shape: Shape, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    # With the signs of R's diagonal, Q is Haar distributed (Mezzadri 2007, math-ph/0609050).
    q, r = torch.linalg.qr(_gaussian(shape, generator, dtype))
    diagonal = r.diagonal(dim1=-2, dim2=-1)
    return shape[-2] ** 0.5 * q * torch.ones_like(diagonal).copysign(diagonal).unsqueeze(-2)


_SAMPLERS: dict[str, Callable[[Shape, torch.Generator, torch.dtype], Tensor]] = {
    "gaussian": _gaussian,
    "rademacher": _rademacher,
    "sphere": _sphere,
    "orthogonal": _orthogonal,
}
PROBE_LAWS = tuple(_SAMPLERS)


def generator_on(device: torch.device, generator: torch.Generator) -> torch.Generator:
    """Return a generator of the same seed that draws on a device: itself, if it does already.

    Drawn where the maps are, probes need neither be copied nor waited for. Another kind of device
    draws other numbers from the same seed.
    """
    if generator.device.type == device.type:
        return generator
    return torch.Generator(device).manual_seed(generator.initial_seed())


def sample_probes(
    n: int,
    k: int,
    *,
    law: ProbeLaw = "gaussian",
    generator: torch.Generator,
    batch: int | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draw k probes for maps of n pixels (§1).

    Parameters
    ----------
    n, k : int
        Pixels N = H·W of the student's map, and probes; k ≤ n for orthogonal ones.
    law : {"gaussian", "rademacher", "sphere", "orthogonal"}
        Standard normal entries; random signs; uniform on the sphere of radius √n; √n times
        Haar-distributed orthonormal columns.
    generator : torch.Generator
        Draws on its own device, so that a CPU generator gives the same probes for maps on any
        device. No global state is read or written.
    batch : int, optional
        Draw independent probes for this many samples.
    dtype : torch.float64 or torch.float32
        Of the draw and the result.
    device : device, optional
        Where the probes are moved to; the generator's by default.

    Returns
    -------
    tensor (n, k) or (batch, n, k)

    Raises
    ------
    TypeError
        If n, k or batch is not an integer, or generator not a torch.Generator.
    ValueError
        If n, k or batch is below 1, law or dtype unknown, or k > n for orthogonal probes.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> z = sample_probes(9, 4, law="orthogonal", generator=generator)
    >>> bool(torch.allclose(z.mT @ z, 9 * torch.eye(4, dtype=z.dtype)))
    True
    """
    n, k = check_count(n, "n"), check_count(k, "k")
    check_choice(law, "law", PROBE_LAWS)
    check_choice(dtype, "dtype", (torch.float64, torch.float32))
    check_generator(generator)
    if law == "orthogonal" and k > n:
        raise ValueError(
            f"k is {k}, but orthogonal probes of {n} pixels allow k <= {n}: "
            f"lower k or choose another law."
        )
    leading = () if batch is None else (check_count(batch, "batch"),)
    return _SAMPLERS[law]((*leading, n, k), generator, dtype).to(device or generator.device)
