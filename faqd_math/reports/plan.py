"""Plans as a table for the terminal, one line of advice, and plain data for a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from faqd_math import cost
from faqd_math.cost import LossPath
from faqd_math.theory.bounds import BOUNDS
from faqd_math.theory.planning import MapSizes, ProbePlan

_PATH_NAMES: dict[LossPath, str] = {"direct": "direct FA", "gram": "exact Gram"}
_NARROWEST = 9  # characters of a column of figures
_BESIDE_LABELS = 44  # characters that 80 columns leave for figures


def plan_tables(plans: Mapping[str, ProbePlan]) -> Iterator[Table]:
    """Lay out one column for each plan, up to four to a table: what FFA needs, risks and costs.

    All plans are for the same ε, δ and k. Fits 80 columns.
    """
    names = list(plans)
    width = 2 + max(_NARROWEST, *map(len, names))
    across = max(1, _BESIDE_LABELS // width)
    for start in range(0, len(names), across):
        yield _table({name: plans[name] for name in names[start : start + across]})


def _table(plans: Mapping[str, ProbePlan]) -> Table:
    table = Table(pad_edge=False, box=box.SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for name in plans:
        table.add_column(Text(name), justify="right", overflow="fold")
    for title, rows in _sections(list(plans.values())).items():
        table.add_row(Text(title, "bold"))
        for label, cells in rows.items():
            table.add_row(f"  {label}", *cells)
        table.add_section()
    return table


def _sections(plans: list[ProbePlan]) -> dict[str, dict[str, list[str]]]:
    """Cells by section and label; a section without shapes is left out."""
    first = plans[0]
    counts = {"samples": [str(p.samples) for p in plans]} if first.samples else {}
    ranks = {
        **counts,
        "effective rank": [f"{p.effective_rank:.1f}" for p in plans],
        "stable rank": [f"{p.stable_rank:.1f}" for p in plans],
    }
    needed = {
        "exact law" if first.samples else "exact law at rank 1": [
            _integer(p.exact_probes) for p in plans
        ],
        **{
            f"{name:3} {BOUNDS[name].name}": [_integer(p.bound_probes[name]) for p in plans]
            for name in first.bound_probes
        },
    }
    at_k = {
        f"probability of an error ≥ {_percent(first.epsilon)}": [
            f"{p.failure_probability:.2g}" for p in plans
        ],
        f"error in {_confidence(first)} of draws, up to": [_percent(p.error) for p in plans],
    }
    if any(p.gradient_noise is not None for p in plans):
        at_k["error of the gradient, rms"] = [
            "–" if p.gradient_noise is None else _percent(p.gradient_noise) for p in plans
        ]
    sections = {
        "gap": ranks,
        f"probes for {_percent(first.epsilon)} in {_confidence(first)} of draws": needed,
        f"with {_probes(first.k)}": at_k,
    }
    shapes = [p.shape for p in plans if p.shape is not None]
    return {**sections, **_costs(plans, shapes)} if len(shapes) == len(plans) else sections


def _costs(plans: list[ProbePlan], shapes: list[MapSizes]) -> dict[str, dict[str, list[str]]]:
    k = plans[0].k
    paths: dict[str, LossPath] = {
        "direct FA": "direct",
        "exact Gram": "gram",
        f"FFA with {_probes(k)}": "ffa",
    }
    adds = {
        label: [_si(cost.multiply_adds(path, *shape, k=k)) for shape in shapes]
        for label, path in paths.items()
    }
    adds[f"FFA for {_percent(plans[0].epsilon)}"] = [
        _si(cost.multiply_adds("ffa", *shape, k=plan.sufficient_probes))
        for plan, shape in zip(plans, shapes, strict=True)
    ]
    memory = {
        label: [_si(cost.extra_bytes(path, *shape, k=k, itemsize=4)) for shape in shapes]
        for label, path in paths.items()
    }
    return {"multiply-adds of a sample": adds, "bytes beside the maps, in float32": memory}


def subject(plans: Mapping[str, ProbePlan]) -> str:
    """Say what the figures are of."""
    samples = max(plan.samples for plan in plans.values())
    if samples == 0:
        return "No gap is given: all is for rank 1, where every bound asks for most probes."
    if samples > 1:
        return "Where there are several samples, each figure is that of the worst."
    return "All is for the gap of one sample."


def advice(plan: ProbePlan) -> str:
    """Say which path to take, and why.

    Examples
    --------
    >>> from faqd_math.theory.planning import plan
    >>> print(advice(plan(shape=MapSizes(1024, 16, 16))))
    Exact Gram costs less than FFA here (786k against 983k multiply-adds): use it.
    """
    if plan.shape is None:
        return _advice_without_shape(plan)
    path = cost.cheapest_exact(*plan.shape)
    exact = cost.multiply_adds(path, *plan.shape)
    at_k = cost.multiply_adds("ffa", *plan.shape, k=plan.k)
    if exact <= at_k:
        name = "Exact Gram" if path == "gram" else "Direct FA, which is exact,"
        less = "less than" if exact < at_k else "as much as"
        figures = f"({_si(exact)} against {_si(at_k)} multiply-adds)"
        return f"{name} costs {less} FFA here {figures}: use it."
    return _advice_where_probes_are_cheap(plan, plan.shape)


def _advice_where_probes_are_cheap(plan: ProbePlan, shape: MapSizes) -> str:
    path = cost.cheapest_exact(*shape)
    name, exact = _PATH_NAMES[path], cost.multiply_adds(path, *shape)
    asked, error = plan.sufficient_probes, _percent(plan.epsilon)
    saving = exact / cost.multiply_adds("ffa", *shape, k=plan.k)
    saving_at_asked = exact / cost.multiply_adds("ffa", *shape, k=asked)
    ffa = f"FFA with {_probes(plan.k)} costs {saving:.3g} times less than {name}"
    where = "" if plan.samples else " on any gap"
    if asked <= plan.k:
        sentence = f"{ffa} and errs by at most {error} in {_confidence(plan)} of draws{where}: "
        return f"{sentence}use it for the value.{_on_the_gradient(plan, name)}"
    risk = f"{_percent(plan.error)} in {_confidence(plan)} of draws"
    errs = f"errs by up to {risk}" if plan.samples else f"errs by up to {risk} at rank 1"
    if saving_at_asked > 1:
        rest = f"{asked:,} keep to {error}{where} and cost {saving_at_asked:.3g} times less"
    else:
        rest = f"for {error}{where} use {name}, which costs no more than {asked:,} probes"
    return f"{ffa} but {errs}; {rest}.{_on_the_gradient(plan, name)}"


def _on_the_gradient(plan: ProbePlan, exact: str) -> str:
    """Warn of the gradient, whose noise grows with N where the value's does not (P8)."""
    if plan.gradient_noise is None:
        return ""
    return (
        f" In training its gradient errs by {_percent(plan.gradient_noise)} (rms), {exact}'s not."
    )


def _advice_without_shape(plan: ProbePlan) -> str:
    asked = plan.sufficient_probes
    goal = f"{_percent(plan.epsilon)} in {_confidence(plan)} of draws"
    width = 4 * asked // 3  # where 3NC² = 4NkC (§4)
    gram = f"exact Gram costs no more up to {width:,} channels on each side."
    if plan.samples:
        return f"{_probes(asked)} keep within {goal}; {gram}"
    return (
        f"{_probes(asked)} keep within {goal} on any gap, where one of rank 1 needs "
        f"{plan.exact_probes:,}; {gram}"
    )


def plan_record(plans: Mapping[str, ProbePlan]) -> dict[str, Any]:
    """Give plans as plain data, ready for JSON."""
    return {
        "schema": 1,
        "plans": {
            name: {
                **asdict(plan),
                "shape": plan.shape and plan.shape._asdict(),
                "cost": _cost_record(plan),
                "advice": advice(plan),
            }
            for name, plan in plans.items()
        },
    }


def _cost_record(plan: ProbePlan) -> dict[str, dict[str, int]] | None:
    shape = plan.shape
    if shape is None:
        return None
    paths: tuple[LossPath, ...] = ("direct", "gram", "ffa")
    return {
        "multiply_adds": {path: cost.multiply_adds(path, *shape, k=plan.k) for path in paths},
        "extra_bytes": {
            path: cost.extra_bytes(path, *shape, k=plan.k, itemsize=4) for path in paths
        },
    }


def _probes(k: int) -> str:
    return f"{k:,} probe{'s' if k > 1 else ''}"


def _integer(k: int | None) -> str:
    return "–" if k is None else f"{k:,}" if k < 10**7 else f"{k:.2e}"


def _percent(ratio: float) -> str:
    """Two significant digits, and no fewer than there are before the point."""
    return f"{100 * ratio:.0f} %" if ratio >= 0.995 else f"{100 * ratio:.2g} %"


def _confidence(plan: ProbePlan) -> str:
    return f"{100 * (1 - plan.delta):.10g} %"


def _si(count: int) -> str:
    """Three significant digits with the prefix of thousands."""
    for prefix, unit in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= 0.9995 * unit:
            return f"{count / unit:.3g}{prefix}"
    return str(count)
