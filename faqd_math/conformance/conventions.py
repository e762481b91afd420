"""What an implementation takes and returns: the ways in which right ones differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal, get_args

from faqd_math._validation import check_choice, check_count
from faqd_math.losses import Order

Kind = Literal["fa", "ffa"]
Maps = Literal["mean", "sum", "none", "single"]
Probes = Literal["argument", "inside"]
Divisor = Literal["N2", "N", "1"]
DType = Literal["float64", "float32"]

_CHOICES = {
    "kind": get_args(Kind),
    "order": get_args(Order),
    "maps": get_args(Maps),
    "probes": (None, *get_args(Probes)),
    "divisor": get_args(Divisor),
    "dtype": get_args(DType),
}


@dataclass(frozen=True)
class Conventions:
    """How an implementation is called, and what its value is to be.

    Attributes
    ----------
    kind : {"fa", "ffa"}
        Exact, or seen through probes.
    order : {2, 1}
        2: squares of the gap's entries. 1: their magnitudes.
    root : bool
        At order 2 the value is the square root, taken last: ‖A‖_F/N.
    maps : {"mean", "sum", "none", "single"}
        It takes batches (B, C, H, W) and gives the mean or the sum over samples, or one value a
        sample; or it takes single maps (C, H, W).
    probes : {"argument", "inside"}, of FFA only
        Probes (N, k) are its third argument (or its keyword ``probes``, where that is
        keyword-only), or it draws them.
    generator : str, optional
        The keyword by which it takes the generator for probes drawn inside, a
        ``numpy.random.Generator`` or, with torch, a ``torch.Generator``.
    k : int
        Number of probes drawn inside.
    divisor : {"N2", "N", "1"}
        What the sum over the N×N entries (order 1, or the squares) is divided by.
    torch : bool
        It takes tensors, and autograd gives its gradient.
    dtype : {"float64", "float32"}
        Of the maps that it is given; its tolerances follow.
    keywords : mapping
        Further keyword arguments of every call.

    Raises
    ------
    TypeError, ValueError
        If a value is not among those, or two contradict each other.

    Examples
    --------
    The Frobenius norm of a batch's gap, over N:

    >>> Conventions(root=True, maps="sum")
    Conventions(root=True, maps='sum')
    """

    kind: Kind = "fa"
    order: Order = 2
    root: bool = False
    maps: Maps = "mean"
    probes: Probes | None = None
    generator: str | None = None
    k: int = 15
    divisor: Divisor = "N2"
    torch: bool = False
    dtype: DType = "float64"
    keywords: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        for name, accepted in _CHOICES.items():
            check_choice(getattr(self, name), name, accepted)
        check_count(self.k, "k")
        if self.root and self.order == 1:
            raise ValueError(
                "root is given with order 1; order 2 is accepted, whose value is a square: leave "
                "one of them out."
            )
        if (self.probes is None) == (self.kind == "ffa"):
            raise ValueError(
                f"kind is {self.kind!r} with probes {self.probes!r}; probes 'argument' or 'inside' "
                f"are accepted with kind 'ffa', and none with 'fa': say how FFA gets its probes."
            )
        if self.generator is not None and self.probes != "inside":
            raise ValueError(
                f"generator is {self.generator!r} with probes {self.probes!r}; a generator is "
                f"accepted with probes 'inside': leave it out."
            )

    def __repr__(self) -> str:
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        default: dict[str, Any] = {**vars(Conventions), "keywords": {}}
        return (
            f"Conventions({', '.join(f'{n}={v!r}' for n, v in given.items() if v != default[n])})"
        )

    def scale(self, n: int) -> float:
        """Return what turns the sum over N² into the implementation's, for maps of n pixels."""
        return float({"N2": 1, "N": n, "1": n**2}[self.divisor])
