"""What FAQD's released training scripts hand to optimizer and quantizer, and how they draw probes.

Own re-implementation, as data, so that the audit can re-enact the defects that no loss shows:

- R3: the loss reseeds the generator that also shuffles the data.
- R7: the weights-only scripts make adapters, and hand them to no optimizer.
- R8: the full script for Tiny ImageNet quantizes the wrong one of its parameter groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import numpy as np

from faqd_math._validation import Array, check_choice, check_rng
from faqd_math.probes import sample_probes

T = TypeVar("T")
Script = Literal["weights only", "full"]

# The group of the full scripts that each quantizes: CIFAR's the convolutions, Tiny ImageNet's not.
QUANTIZED_GROUP = {"CIFAR": 1, "Tiny ImageNet": 0}


def parameter_groups(
    student: Mapping[str, T], adapters: Mapping[str, T], *, script: Script
) -> list[dict[str, T]]:
    """Sort named parameters into the groups of the optimizer, as released (R7, R8).

    A weight is a convolution's if "conv" is in its name: the 1×1 shortcuts of the ResNets for
    Tiny ImageNet, named "downsample", are not.

    Parameters
    ----------
    student, adapters : dict of name to parameter
        The names as PyTorch gives them, as "layer1.0.conv1.weight".
    script : {"weights only", "full"}
        weights only: convolutions, other weights, biases; the adapters are left out (R7).
        full: other weights, convolutions, biases, activation steps, adapters.

    Returns
    -------
    list of dict
        The parameters by group. The weights-only scripts quantize group 0; the full ones group
        ``QUANTIZED_GROUP`` (R8).

    Raises
    ------
    ValueError
        If the script is unknown.

    Examples
    --------
    >>> student = {"conv1.weight": 1, "fc.weight": 2, "fc.bias": 3, "relu.alpha": 4}
    >>> parameter_groups(student, {"adapter.weight": 5}, script="weights only")
    [{'conv1.weight': 1}, {'fc.weight': 2}, {'fc.bias': 3}]
    """
    check_choice(script, "script", ("weights only", "full"))
    convolutions = {n: p for n, p in student.items() if "conv" in n and "weight" in n}
    others = {n: p for n, p in student.items() if "conv" not in n and "weight" in n}
    biases = {n: p for n, p in student.items() if "bias" in n}
    if script == "weights only":
        return [convolutions, others, biases]
    steps = {n: p for n, p in student.items() if "alpha" in n}
    return [others, convolutions, biases, steps, dict(adapters)]


def reseeded_probes(n: int, k: int, *, rng: np.random.Generator, state: Mapping[str, Any]) -> Array:
    """Draw gaussian probes as the released loss does: first set the generator to one state (R3).

    Parameters
    ----------
    n, k : int
        Pixels and probes.
    rng : numpy.random.Generator
        In the released code the global one, from which data are shuffled too; here the caller's.
    state : dict
        The state to set, from a generator of the same kind: ``rng.bit_generator.state``.

    Returns
    -------
    array (n, k)
        The same at each call.

    Raises
    ------
    TypeError, ValueError
        As `faqd_math.sample_probes`; and if the state is of another kind of generator.

    Examples
    --------
    What is drawn after it is the same, too:

    >>> rng = np.random.default_rng(0)
    >>> state = np.random.default_rng(1).bit_generator.state
    >>> orders = []
    >>> for _ in range(2):
    ...     _ = reseeded_probes(4, 2, rng=rng, state=state)
    ...     orders.append(rng.permutation(5).tolist())
    >>> orders[0] == orders[1]
    True
    """
    check_rng(rng).bit_generator.state = dict(state)
    return sample_probes(n, k, rng=rng)
