"""Check every property of an implementation, and find the smallest case where one fails."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
from hypothesis import Phase, find, settings
from hypothesis.errors import Flaky, NoSuchExample
from hypothesis.strategies import SearchStrategy

from faqd_math._validation import check_choice, check_count
from faqd_math.conformance.cases import Arguments, Seed
from faqd_math.conformance.conventions import Conventions
from faqd_math.conformance.implementation import Implementation, Misbehaviour
from faqd_math.conformance.randomness import preserved_global_generators
from faqd_math.conformance.suite import Property, suite

Progress = Callable[[Sequence[Property]], Iterable[Property]]


@dataclass(frozen=True)
class Finding:
    """The result of checking one property.

    Attributes
    ----------
    checked : Property
    conventions : Conventions
    message : str, optional
        How it fails, None where it holds.
    case : dict
        Where it fails: the assertion's arguments after the implementation.
    """

    checked: Property
    conventions: Conventions
    message: str | None = None
    case: Arguments = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether no case fails."""
        return self.message is None


def check(
    function: Callable[..., Any],
    conventions: Conventions,
    *,
    examples: int = 100,
    replications: int = 2000,
    seed: int = 0,
    skip: Collection[str] = (),
    progress: Progress = iter,
) -> list[Finding]:
    """Check an implementation of FA or FFA; the same call gives the same findings.

    Parameters
    ----------
    function : callable
        The implementation.
    conventions : Conventions
        What it takes and returns.
    examples : int
        Maps that Hypothesis draws for each search, two searches for each property.
    replications : int
        Calls over which means and variances are taken, at least 100. A true property fails by
        chance with probability 1e-6; a bias of `detectable_bias` is found.
    seed : int
        Of what Hypothesis draws.
    skip : collection of str
        Ids of properties to leave out.
    progress : callable, optional
        Wraps the list of properties while they are checked.

    Returns
    -------
    list of Finding, one for each property

    Raises
    ------
    ValueError
        If the function does not fit the conventions, raises on generic maps or returns another
        shape, or an argument is out of range.

    Notes
    -----
    The global generators are left as they were, whatever the implementation does to them.

    Examples
    --------
    >>> from faqd_math import fa_loss
    >>> def with_epsilon(student, teacher):
    ...     pixel = np.full((len(student), 1, *student.shape[2:]), 1e-5)
    ...     return fa_loss(np.concatenate([student, pixel], axis=1), teacher)
    >>> found = check(with_epsilon, Conventions(), examples=20)
    >>> "EPS" in [finding.checked.id for finding in found if finding.message]
    True
    """
    check_count(examples, "examples")
    check_count(replications, "replications", at_least=100)
    check_count(seed, "seed", at_least=0)
    implementation = Implementation(function, conventions)
    properties = suite(conventions, replications)
    for skipped in skip:
        check_choice(skipped, "skip", [p.id for p in properties])
    kept = [p for p in properties if p.id not in skip]
    search = settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate, Phase.shrink],
    )
    with preserved_global_generators(implementation.adapter):
        _refuse_what_does_not_run(implementation)
        return [_check_property(p, implementation, search, seed) for p in progress(kept)]


def detectable_bias(replications: int, k: int) -> float:
    """Return the relative bias of FFA that P1's check finds with probability 0.9 or more.

    The mean over n calls has relative standard deviation √(2/(kn)) at most (P2), and the check
    allows 4.89 of them (a false alarm of 1e-6).

    Examples
    --------
    >>> round(detectable_bias(2000, 15), 3)
    0.05
    """
    return float((4.89 + 1.28) * np.sqrt(2 / (k * replications)))


def _refuse_what_does_not_run(implementation: Implementation) -> None:
    """Raise ValueError where no value comes of generic maps: the options are to blame."""
    c = implementation.conventions
    rng = np.random.default_rng(0)
    shape = (4, 4, 4) if c.maps == "single" else (2, 4, 4, 4)
    maps = rng.standard_normal((2, *shape)).astype(c.dtype)
    probes = [rng.standard_normal((16, 3))] if c.probes == "argument" else []
    try:
        implementation(*maps, *probes)
    except Misbehaviour as error:
        raise ValueError(
            f"on generic maps of shape {shape} {error} Do the options describe it?"
        ) from error


def _check_property(
    prop: Property, implementation: Implementation, search: settings, seed: int
) -> Finding:
    for cases in prop.cases:
        failing = _first_failing(prop, implementation, cases, search, seed)
        if failing is not None:
            return Finding(prop, implementation.conventions, *failing)
    return Finding(prop, implementation.conventions)


def _first_failing(
    prop: Property,
    implementation: Implementation,
    cases: Arguments | SearchStrategy[Arguments],
    search: settings,
    seed: int,
) -> tuple[str, Arguments] | None:
    """Return message and case of a failure, the smallest one where there is a choice."""
    if not isinstance(cases, SearchStrategy):
        message = failure(prop, implementation, cases)
        return None if message is None else (message, cases)
    failures: list[Arguments] = []

    def fails(case: Arguments) -> bool:
        if failure(prop, implementation, case) is None:
            return False
        failures.append(case)
        return True

    try:
        smallest = find(cases, fails, settings=search, random=Random(seed))
    except NoSuchExample:
        return None
    except Flaky:  # an implementation whose own randomness decides whether it fails
        smallest = failures[-1]
    message = failure(prop, implementation, smallest)
    return (message or "it fails, but not at each call.", smallest)


def failure(prop: Property, implementation: Implementation, case: Arguments) -> str | None:
    """Return how a property fails on a case, or None."""
    implementation.restart()
    target = implementation if prop.target == "loss" else implementation.gradient
    # Copies, since the implementation may write into what it is given.
    arguments = (
        np.random.default_rng(value.value) if isinstance(value, Seed) else value.copy()
        for value in case.values()
    )
    try:
        prop.assertion(target, *arguments, **prop.options)
    except AssertionError as error:
        return str(error)
    return None
