"""The properties that a right implementation has, each with the maps that it is checked on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from faqd_math.conformance import cases, randomness
from faqd_math.conformance.cases import Cases
from faqd_math.conformance.conventions import Conventions
from faqd_math.testing import calls, definitions, properties


@dataclass(frozen=True)
class Property:
    """One statement about an implementation.

    Attributes
    ----------
    id : str
        Of the statement in the mathematics or the audit, where it has one.
    sentence : str
        What holds, in at most 54 characters.
    assertion : callable
        Takes the implementation, then a case's values; raises AssertionError where it fails.
    cases : list
        Maps, fixed or strategies to search.
    options : dict
        Keywords of the assertion.
    of : {"loss", "gradient"}
        What of the implementation the assertion takes.
    """

    id: str
    sentence: str
    assertion: Callable[..., None]
    cases: Cases
    options: dict[str, Any] = field(default_factory=dict)
    of: Literal["loss", "gradient"] = "loss"


def suite(conventions: Conventions, replications: int = 2000) -> list[Property]:
    """List the properties that an implementation of these conventions is to have.

    Values that random probes decide are judged by their mean and variance over that many calls,
    all others one by one.

    Examples
    --------
    >>> [p.id for p in suite(Conventions(kind="ffa", probes="inside", maps="single"))]
    ['P1', 'P2', 'R4', 'EPS', 'SIZE', 'R2', 'R3', 'INPUT']
    """
    if conventions.probes == "inside":
        values = _of_random_values(conventions, replications)
    else:
        values = _of_values(conventions, replications)
    calls_ = _of_calls(conventions)
    return values + calls_ + (_of_gradients(conventions, replications) if conventions.torch else [])


def _of_values(c: Conventions, replications: int) -> list[Property]:
    """Exact FA, and FFA whose probes are given."""
    order: dict[str, Any] = {"order": c.order}
    found = [
        Property(
            "DEF",
            "the value is the definition's",
            definitions.loss_is_its_definition,
            cases.pairs(c),
            order,
        ),
        Property(
            "R4",
            "dead pixels have affinity 0",
            definitions.loss_is_its_definition,
            cases.dead_pixels(c),
            order,
        ),
        Property(
            "EPS",
            "pixels of norm 1e-6 count in full: no ε in norms (I2)",
            definitions.loss_ignores_tiny_norms,
            cases.pairs(c),
        ),
        Property(
            "SIZE",
            "a teacher of other size is resized, corners aligned",
            definitions.loss_is_its_definition,
            cases.resized_pairs(c),
            order | {"resized": True},
        ),
    ]
    if c.maps != "single":
        reduced = definitions.batch_is_reduced
        found.append(Property("R6", _REDUCED, reduced, cases.batches(c), {"reduction": c.maps}))
    return found + (_of_exact_values(c) if c.kind == "fa" else _of_probes(c, replications))


_REDUCED = "a batch is reduced as declared"


def _of_exact_values(c: Conventions) -> list[Property]:
    order = {"order": c.order}
    return [
        Property(
            "I2",
            "scales, rotations, permutation, swap change nothing",
            properties.loss_is_invariant,
            cases.pairs_and_seeds(c),
        ),
        Property(
            "I3",
            f"the value is in 0 … {2**c.order}, of non-negative maps in 0 … 1",
            properties.loss_is_bounded,
            cases.pairs(c),
            order,
        ),
        Property(
            "I3-metric",
            "the triangle inequality; 0 for equal affinities",
            properties.loss_is_a_pseudometric,
            cases.triples(c),
            order,
        ),
    ]


def _of_probes(c: Conventions, replications: int) -> list[Property]:
    found = [
        Property(
            "I7",
            "FFA averages its probes and is homogeneous in them",
            properties.fast_loss_averages_its_probes,
            cases.pairs(c),
            {"order": c.order},
        )
    ]
    if c.order == 1:
        mean = calls.mean_over_probes_is_fa
        options = {"order": 1, "replications": replications}
        found.append(Property("R1", _ORDER_ONE, mean, cases.fixed_pairs_and_seeds(c), options))
    return found


_ORDER_ONE = "the mean over probes is FA of order 1, no other norm"


def _of_random_values(c: Conventions, replications: int) -> list[Property]:
    """FFA that draws its probes."""
    draws = {"replications": replications}
    mean = {"order": c.order} | draws
    found = [Property("R1", _ORDER_ONE, calls.mean_is_fa, cases.fixed_pairs(c), mean)]
    if c.order == 2:
        found = [
            Property(
                "P1", "the mean over calls is FA", calls.mean_is_fa, cases.fixed_pairs(c), mean
            ),
            Property(
                "P2",
                f"the variance over calls is that of {c.k} probes at most",
                calls.variance_is_that_of_probes,
                cases.one_pair(c),
                {"k": c.k} | draws,
            ),
        ]
    found += [
        Property(
            "R4", "dead pixels leave the value finite", calls.value_is_finite, cases.dead_pixels(c)
        ),
        Property(
            "EPS",
            "pixels of norm 1e-6 count in full, on average (I2)",
            calls.means_agree,
            cases.tiny_and_unit(c),
            draws,
        ),
        Property(
            "SIZE",
            "a teacher of other size is resized, on average",
            calls.means_agree,
            cases.small_and_resized(c),
            draws,
        ),
    ]
    if c.maps != "single":
        reduced, options = calls.batch_mean_is_reduced, {"reduction": c.maps} | draws
        found.append(Property("R6", _REDUCED, reduced, cases.fixed_batch(c), options))
    return found


def _of_calls(c: Conventions) -> list[Property]:
    """Randomness and side effects."""
    inside = c.probes == "inside"
    found = [
        Property(
            "R3",
            "no global generator is seeded, or drawn from unasked",
            randomness.global_generators_are_left,
            cases.fixed_pairs(c),
            {"may_draw": inside and c.generator is None},
        ),
        Property(
            "INPUT", "the maps are not written into", calls.inputs_are_left, cases.fixed_pairs(c)
        ),
    ]
    if not inside:
        same = "equal arguments give equal values"
        return [*found, Property("PURE", same, calls.value_is_repeatable, cases.fixed_pairs(c))]
    fresh = "probes are drawn anew at each call"
    found.insert(0, Property("R2", fresh, calls.probes_are_fresh, cases.one_pair(c)))
    if c.generator is not None:
        same, equal = "equal seeds give equal values", randomness.equal_seeds_give_equal_values
        found.append(Property("SEED", same, equal, cases.one_pair(c)))
    return found


def _of_gradients(c: Conventions, replications: int) -> list[Property]:
    """Judge what autograd gives for the student."""
    tangent = Property(
        "R4-grad",
        "the gradient is finite, tangent, 0 at dead pixels",
        properties.gradient_is_tangent,
        cases.dead_pixels(c),
        of="gradient",
    )
    if c.probes != "inside":
        return [
            Property(
                "I9" if c.probes else "I8",
                f"the gradient is {c.kind.upper()}'s in closed form",
                definitions.gradient_is_its_definition,
                cases.pairs(c),
                {"order": c.order},
                of="gradient",
            ),
            tangent,
        ]
    if c.order == 1:
        return [tangent]
    return [
        Property(
            "P8",
            "the mean gradient over calls is FA's",
            calls.gradient_mean_is_fa_gradient,
            cases.fixed_pairs(c),
            {"replications": replications},
            of="gradient",
        ),
        tangent,
    ]
