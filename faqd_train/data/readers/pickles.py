"""Read the pickles of the CIFAR archives without running anything that they ask for.

A pickle may name any function and have it called. Here the few names that an array's pickle
holds stand for functions of this file, which build plain arrays and bytes; every other name is
refused, before anything of it is imported.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What damaged bytes raise in the standard library's unpickler, found by flipping them.
_DAMAGE = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    TypeError,
    ValueError,
)
_PLAIN_DTYPE = re.compile(r"[iu][1248]")


def read_pickle(content: bytes, where: str) -> dict[bytes, Any]:
    """Return the dictionary of a pickle made of numbers, strings, lists and integer arrays.

    Parameters
    ----------
    content : bytes
        The pickle; strings of Python 2 become bytes.
    where : str
        Its name in error messages.

    Raises
    ------
    ValueError
        If it names anything but an array, is damaged, or is not a dictionary.

    Examples
    --------
    >>> batch = read_pickle(pickle.dumps({b"data": np.arange(3, dtype=np.uint8)}), "batch")
    >>> batch[b"data"].tolist()
    [0, 1, 2]
    >>> read_pickle(pickle.dumps(print), "batch")
    Traceback (most recent call last):
    ValueError: batch asks for builtins.print, ... arrays are accepted: get the official file.
    """
    try:
        _check_memory(content)
        loaded = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except _ForbiddenNameError as refusal:
        raise ValueError(f"{where} {refusal}") from None
    except _DAMAGE:
        raise ValueError(
            f"{where} is not an intact pickle; a file of the official archive is accepted: get "
            f"it anew."
        ) from None
    if not isinstance(loaded, dict):
        raise ValueError(
            f"{where} holds a {type(loaded).__name__}; a dictionary is accepted: get the "
            f"official file."
        )
    return {
        key: value.whole() if isinstance(value, _Array) else value for key, value in loaded.items()
    }


def _check_memory(content: bytes) -> None:
    """Refuse a pickle that makes a few bytes claim the machine's memory (ValueError).

    The unpickler grows a table to any position that a pickle stores at. Lengths beyond the end
    are refused by the scan itself.
    """
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name.endswith("PUT") and argument is not None and argument > len(content):
            raise ValueError("a position of the memo is beyond the pickle's length")


class _ForbiddenNameError(Exception):
    """The pickle names what no data set needs."""


class _Dtype:
    """Stands for numpy.dtype: keeps an integer type's name, whatever state is set."""

    def __init__(self, name: str | bytes, *_flags: object) -> None:
        text = name.decode("ascii") if isinstance(name, bytes) else name
        if not _PLAIN_DTYPE.fullmatch(text):
            raise ValueError(f"arrays of type {text} are not read")
        self.name = text
        self.order = "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]
        if order not in ("|", "<", ">"):
            raise ValueError(f"byte order {order!r} is not read")
        self.order = order


class _Array:
    """Stands for numpy.ndarray: built from its shape and bytes by NumPy's public functions."""

    value: NDArray[Any] | None = None

    def __init__(self, *_made: object) -> None:
        """Ignore what NumPy's own constructor is given: the state that follows has it all."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, fortran, content = state
        if not isinstance(dtype, _Dtype) or not isinstance(content, bytes):
            raise ValueError("the array is not made of plain numbers")
        kind = np.dtype(dtype.order + dtype.name)
        if math.prod(shape) * kind.itemsize != len(content):
            raise ValueError("the array's bytes do not fill its shape")
        flat = np.frombuffer(content, kind)
        self.value = flat.reshape(shape, order="F" if fortran else "C")

    def whole(self) -> NDArray[Any]:
        """Return the array, empty if the pickle never filled it."""
        return np.empty(0) if self.value is None else self.value


def _encode(text: str, codec: str) -> bytes:
    """Stand for codecs.encode, by which bytes are written in pickles of protocol 2."""
    if codec not in ("latin1", "latin-1"):
        raise ValueError(f"codec {codec} is not read")
    return text.encode("latin-1")


class _Maker:
    """A function that a pickle may call but not alter."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> object:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a function takes no state")


_ALLOWED: dict[tuple[str, str], object] = {
    ("_codecs", "encode"): _Maker(_encode),
    ("numpy", "dtype"): _Maker(_Dtype),
    ("numpy", "ndarray"): "ndarray",  # only ever an argument of _reconstruct
    ("numpy.core.multiarray", "_reconstruct"): _Maker(_Array),
    ("numpy._core.multiarray", "_reconstruct"): _Maker(_Array),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _ForbiddenNameError(
                f"asks for {module}.{name}, which could run code; plain arrays are accepted: "
                f"get the official file."
            ) from None
