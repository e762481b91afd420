"""The properties that a right implementation has, each with the maps that it is checked on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from faqd_math.conformance import cases, randomness
from faqd_math.conformance.cases import Searches
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
    target : {"loss", "gradient"}
        What the assertion takes of the implementation.
    """

    id: str
    sentence: str
    assertion: Callable[..., None]
    cases: Searches
    options: dict[str, Any] = field(default_factory=dict)
    target: Literal["loss", "gradient"] = "loss"


_SENTENCES = {
    "DEF": "the value is the definition's",
    "R4": "dead pixels have affinity 0",
    "R4, drawn": "dead pixels leave the value finite",
    "EPS": "pixels of norm 1e-6 count in full: no ε in norms (I2)",
    "EPS, drawn": "pixels of norm 1e-6 count in full, on average (I2)",
    "SIZE": "a teacher of other size is resized, corners aligned",
    "SIZE, drawn": "a teacher of other size is resized, on average",
    "R6": "a batch is reduced as declared",
    "I2": "scales, rotations, permutation, swap change nothing",
    "I3": "the value is in 0 … {largest}, of non-negative maps in 0 … 1",
    "I3-metric": "the triangle inequality; 0 for equal affinities",
    "I7": "FFA averages its probes and is homogeneous in them",
    "R1": "the mean over probes is FA of order 1, no other norm",
    "P1": "the mean over calls is FA",
    "P2": "the variance over calls is that of {k} probes at most",
    "R2": "probes are drawn anew at each call",
    "R3": "no global generator is seeded, or drawn from unasked",
    "INPUT": "the maps are not written into",
    "PURE": "equal arguments give equal values",
    "SEED": "equal seeds give equal values",
    "R4-grad": "the gradient is finite, tangent, 0 at dead pixels",
    "I8": "the gradient is FA's in closed form",
    "I9": "the gradient is FFA's in closed form",
    "P8": "the mean gradient over calls is FA's",
}


def suite(conventions: Conventions, replications: int = 2000) -> list[Property]:
    """List the properties that an implementation of these conventions is to have.

    Values that random probes decide are judged by their mean and variance over that many calls,
    all others one by one.

    Examples
    --------
    >>> [p.id for p in suite(Conventions(kind="ffa", probes="inside", maps="single"))]
    ['P1', 'P2', 'R4', 'EPS', 'SIZE', 'R2', 'R3', 'INPUT']
    """
    inside, draws = conventions.probes == "inside", {"replications": replications}
    found = _of_drawn_values(conventions, draws) if inside else _of_values(conventions, draws)
    found += _of_calls(conventions)
    if not conventions.torch:
        return found
    return found + (_of_drawn_gradients if inside else _of_gradients)(conventions, draws)


class _Listing:
    """Properties in the order in which they are added, for one set of conventions."""

    def __init__(self, conventions: Conventions) -> None:
        largest = "2" if conventions.order == 2 else "√2"
        self.conventions, self.words = conventions, {"largest": largest, "k": conventions.k}
        self.found: list[Property] = []

    def add(
        self,
        key: str,
        assertion: Callable[..., None],
        of_cases: Callable[[Conventions], Searches],
        **options: Any,
    ) -> None:
        """Add a property of the loss by its key in `_SENTENCES`."""
        sentence = _SENTENCES[key].format(**self.words)
        searches = of_cases(self.conventions)
        name = key.partition(",")[0]
        self.found.append(Property(name, sentence, assertion, searches, options))


def _of_values(c: Conventions, draws: dict[str, Any]) -> list[Property]:
    """Exact FA, and FFA whose probes are given."""
    of = _Listing(c)
    of.add("DEF", definitions.loss_is_its_definition, cases.pairs, order=c.order)
    of.add("R4", definitions.loss_is_its_definition, cases.dead_pixels, order=c.order)
    of.add("EPS", definitions.loss_ignores_tiny_norms, cases.pairs)
    resized = {"order": c.order, "resized": True}
    of.add("SIZE", definitions.loss_is_its_definition, cases.resized_pairs, **resized)
    if c.maps != "single":
        of.add("R6", definitions.batch_is_reduced, cases.batches, reduction=c.maps)
    if c.kind == "fa":
        of.add("I2", properties.loss_is_invariant, cases.pairs_and_seeds)
        of.add("I3", properties.loss_is_bounded, cases.pairs, order=c.order)
        of.add("I3-metric", properties.loss_is_a_pseudometric, cases.triples, order=c.order)
        return of.found
    of.add("I7", properties.fast_loss_averages_its_probes, cases.pairs, order=c.order)
    if c.order == 1:
        of.add("R1", calls.mean_over_probes_is_fa, cases.fixed_pairs_and_seeds, order=1, **draws)
    return of.found


def _of_drawn_values(c: Conventions, draws: dict[str, Any]) -> list[Property]:
    """FFA that draws its probes."""
    of = _Listing(c)
    if c.order == 1:
        of.add("R1", calls.mean_is_fa, cases.fixed_pairs, order=1, **draws)
    else:
        of.add("P1", calls.mean_is_fa, cases.fixed_pairs, order=2, **draws)
        of.add("P2", calls.variance_is_that_of_probes, cases.one_pair, k=c.k, **draws)
    of.add("R4, drawn", calls.value_is_finite, cases.dead_pixels)
    of.add("EPS, drawn", calls.means_agree, cases.tiny_and_unit, **draws)
    of.add("SIZE, drawn", calls.means_agree, cases.small_and_resized, **draws)
    if c.maps != "single":
        of.add("R6", calls.batch_mean_is_reduced, cases.fixed_batch, reduction=c.maps, **draws)
    return of.found


def _of_calls(c: Conventions) -> list[Property]:
    """Randomness and side effects."""
    of, inside = _Listing(c), c.probes == "inside"
    if inside:
        of.add("R2", calls.probes_are_fresh, cases.one_pair)
    may_draw = inside and c.generator is None
    left = randomness.global_generators_are_left
    of.add("R3", left, cases.fixed_pairs, may_draw=may_draw)
    of.add("INPUT", calls.inputs_are_left, cases.fixed_pairs)
    if not inside:
        of.add("PURE", calls.value_is_repeatable, cases.fixed_pairs)
    elif c.generator is not None:
        of.add("SEED", randomness.equal_seeds_give_equal_values, cases.one_pair)
    return of.found


def _of_gradients(c: Conventions, _: dict[str, Any]) -> list[Property]:
    """Judge what autograd gives for the student."""
    of = _Listing(c)
    closed_form = definitions.gradient_is_its_definition
    of.add("I9" if c.probes else "I8", closed_form, cases.pairs, order=c.order)
    of.add("R4-grad", properties.gradient_is_tangent, cases.dead_pixels)
    return [replace(listed, target="gradient") for listed in of.found]


def _of_drawn_gradients(c: Conventions, draws: dict[str, Any]) -> list[Property]:
    of = _Listing(c)
    if c.order == 2:
        of.add("P8", calls.gradient_mean_is_fa_gradient, cases.fixed_pairs, **draws)
    of.add("R4-grad", properties.gradient_is_tangent, cases.dead_pixels)
    return [replace(listed, target="gradient") for listed in of.found]
