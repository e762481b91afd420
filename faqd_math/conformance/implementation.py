"""An implementation in its own conventions, turned into one in those of the definition."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from faqd_math._validation import Array
from faqd_math.conformance.conventions import Conventions
from faqd_math.conformance.numpy_adapter import NumpyAdapter


class Misbehaviour(AssertionError):
    """What an implementation raised, or a value of a shape that it should not have."""


class Implementation:
    """A loss as the properties want it: float64, divided by N², a square at order 2.

    Parameters
    ----------
    function : callable
        The implementation: (student, teacher), and the probes where they are an argument.
    conventions : Conventions

    Raises
    ------
    ValueError
        If the function cannot be called so.

    Examples
    --------
    A root of a batch's sum, and the definition's value of it:

    >>> from faqd_math import fa_loss
    >>> def norm(student, teacher):
    ...     return fa_loss(student, teacher, reduction="sum") ** 0.5
    >>> loss = Implementation(norm, Conventions(root=True, maps="sum"))
    >>> round(loss(np.ones((1, 1, 2)), np.eye(2).reshape(2, 1, 2)), 12)
    0.5
    """

    def __init__(self, function: Callable[..., Any], conventions: Conventions) -> None:
        self.function, self.conventions = function, conventions
        self.adapter = _adapter(conventions)
        self._probes_by_name = _check_signature(function, conventions)
        self.restart()

    def restart(self, seed: int = 0) -> None:
        """Seed the generator that is passed along anew, if one is."""
        self._keywords = dict(self.conventions.keywords)
        if self.conventions.generator is not None:
            self._keywords[self.conventions.generator] = self.adapter.generator(seed)

    def __call__(self, student: Array, teacher: Array, *probes: Array) -> Any:
        """Return the definition's value of single maps, or of a batch as reduced.

        Raises
        ------
        Misbehaviour
            If the implementation raises, or returns another shape than declared.
        """
        raw = self._run(self.adapter.value, student, teacher, probes)
        return self._by_definition(raw, student)

    def gradient(self, student: Array, teacher: Array, *probes: Array) -> Array:
        """Return the definition's gradient of single maps: torch's autograd, scaled alike."""
        raw, gradient = self._run(self.adapter.value_and_gradient, student, teacher, probes)
        if self.conventions.root:
            gradient = 2 * raw * gradient
        return gradient.reshape(student.shape) / self.conventions.scale(_pixels(student))

    def _run(
        self,
        call: Callable[[Callable[..., Any], list[Array]], Any],
        student: Array,
        teacher: Array,
        probes: tuple[Array, ...],
    ) -> Any:
        maps = [array.astype(self.conventions.dtype, copy=False) for array in (student, teacher)]
        if self.conventions.maps != "single" and student.ndim == 3:
            maps = [array[np.newaxis] for array in maps]
        others = [array.astype(self.conventions.dtype, copy=False) for array in probes]
        try:
            return call(self._with_keywords, maps + others)
        except Exception as error:  # whatever anyone's code may raise is a finding about it
            said = " ".join(str(error).split())
            raise Misbehaviour(f"the call raised {type(error).__name__}: {said}") from error

    def _with_keywords(self, student: Any, teacher: Any, *probes: Any) -> Any:
        if self._probes_by_name and probes:
            return self.function(student, teacher, probes=probes[0], **self._keywords)
        return self.function(student, teacher, *probes, **self._keywords)

    def _by_definition(self, raw: Any, student: Array) -> Any:
        value = np.asarray(raw, dtype=np.float64)
        batch = len(student) if student.ndim == 4 else 1
        shape = (batch,) if self.conventions.maps == "none" else ()
        if value.shape != shape:
            raise Misbehaviour(
                f"the call returned shape {value.shape}; {shape} is accepted of maps "
                f"{self.conventions.maps!r}."
            )
        value = value**2 if self.conventions.root else value
        value = value / self.conventions.scale(_pixels(student))
        return value if student.ndim == 4 and value.ndim else float(value.reshape(()))


def _pixels(maps: Array) -> int:
    return maps.shape[-2] * maps.shape[-1]


def _adapter(conventions: Conventions) -> NumpyAdapter:
    if not conventions.torch:
        return NumpyAdapter()
    try:
        from faqd_math.conformance.torch_adapter import TorchAdapter
    except ModuleNotFoundError as error:
        raise ValueError(
            f"torch=True is given, but {error.name} is not installed: pip install 'faqd[train]'."
        ) from error
    return TorchAdapter()


def _check_signature(function: Callable[..., Any], conventions: Conventions) -> bool:
    """Refuse a function that cannot be called as declared; tell if probes go by name."""
    if not callable(function):
        raise ValueError(
            f"the implementation is a {type(function).__name__}; a function is accepted: name it."
        )
    try:
        signature = inspect.signature(function)
    except ValueError:  # some builtins have none
        return False
    arguments = ["student", "teacher"]
    keywords = set(conventions.keywords)
    if conventions.generator is not None:
        keywords.add(conventions.generator)
    by_name = False
    if conventions.probes == "argument":
        parameter = signature.parameters.get("probes")
        by_name = parameter is not None and parameter.kind is parameter.KEYWORD_ONLY
        if by_name:
            keywords.add("probes")
        else:
            arguments.append("probes")
    try:
        signature.bind(*arguments, **dict.fromkeys(keywords))
    except TypeError as error:
        call = ", ".join([*arguments, *(f"{name}=…" for name in sorted(keywords))])
        raise ValueError(
            f"the implementation takes {signature}, which ({call}) does not fit ({error}): change "
            f"the options, or name a function that does."
        ) from error
    return by_name
