"""The figures and formulas of the report's page, drawn by Matplotlib as SVG, the same each time."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import MathTextParser

from faqd_math._validation import Array
from faqd_math.claims import Case, Report
from faqd_math.theory.bounds import TailProbability, gaussian_bounds
from faqd_math.theory.law import failure_probability

# Okabe and Ito's colours, told apart by the colour-blind. Labels are outlines, which ask for no
# font; ids come from a fixed salt, so that equal figures are equal files.
_STYLE: Any = {
    "axes.grid": True,
    "axes.prop_cycle": "cycler(color=['0072B2', 'D55E00', '009E73', 'CC79A7', 'E69F00', '56B4E9'])",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": "0.88",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "svg.fonttype": "path",
    "svg.hashsalt": "faqd",
}
_WIDTH = 7.2  # inches

# What TeX knows and mathtext does not, and the nearest that it knows.
_DIALECT = {
    r"\\le(?![a-z])": r"\\leq",
    r"\\ge(?![a-z])": r"\\geq",
    r"\\operatorname": r"\\mathrm",
    r"\\[bB]igg?[lr]?(?![a-z])": "",
}

PROBES = 15  # of the tail figure: the released code's default
_PANELS = 4
_SMALLEST = 1e-8  # probability drawn
_LEAST_P = 1e-16  # p-value drawn for 0


def formula(tex: str) -> bytes:
    """Draw a formula as SVG, in black on nothing.

    Raises
    ------
    ValueError
        If Matplotlib's mathtext lacks one of its commands.
    """
    for command, known in _DIALECT.items():
        tex = re.sub(command, known, tex)
    line, margin = f"${tex}$", 1
    style = {"mathtext.fontset": "stix", "figure.constrained_layout.use": False}
    with mpl.rc_context(_STYLE | style):
        box = MathTextParser("path").parse(line, dpi=72, prop=FontProperties(size=12))
        width, height = box.width + 2 * margin, box.height + 2 * margin
        figure = Figure(figsize=(width / 72, height / 72))
        figure.text(margin / width, (box.depth + margin) / height, line, fontsize=12)
        return _svg(figure)


def tails(cases: Sequence[Case]) -> bytes:
    """Draw the bounds beside the exact law over ε, for first samples from small to large ρ."""
    firsts = {_pair(case.name): case for case in reversed(cases)}.values()
    by_rank = sorted(firsts, key=lambda case: case.effective_rank)
    chosen = np.linspace(0, len(by_rank) - 1, min(_PANELS, len(by_rank))).round().astype(int)
    shown = [by_rank[place] for place in chosen]
    rows = -(-len(shown) // 2)

    def draw(figure: Figure) -> None:
        panels = figure.subplots(rows, 2, squeeze=False).ravel()
        for axes, case in zip(panels, shown, strict=False):
            _tail_panel(axes, case)
        for axes in panels[len(shown) :]:
            axes.remove()
        for axes in panels[: len(shown) : 2]:
            axes.set_ylabel("P(|T − μ| ≥ εμ)")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)

    return _drawn((_WIDTH, 2.6 * rows + 0.6), draw)


def _tail_panel(axes: Axes, case: Case) -> None:
    # Up to six standard deviations, beyond which hardly a draw falls, and short of the jump at 1,
    # from where the lower side is empty.
    largest = min(0.99, 6 * float(np.sqrt(2 / (PROBES * case.effective_rank))))
    errors = np.linspace(largest / 40, largest, 40)

    def over(probability: TailProbability, up_to: float = np.inf) -> Array:
        values = [
            probability(case.spectrum, PROBES, error) if error <= up_to else np.nan
            for error in errors.tolist()
        ]
        return np.array(values)

    for number, (claim_id, bound) in enumerate(gaussian_bounds().items()):
        line = "-" if number < 6 else "--"
        axes.semilogy(errors, over(bound, bound.epsilon_at_most), line, label=claim_id)
    exact = over(failure_probability)
    axes.semilogy(errors, exact, color="k", linewidth=2.5, label="exact law")
    axes.set(
        title=f"{case.name}: ρ = {case.effective_rank:.1f}",
        xlabel="relative error ε",
        xlim=(0, largest),
        ylim=(max(0.3 * exact.min(), _SMALLEST), 2),
    )


def tightness(report: Report) -> bytes:
    """Draw, for each bound and sample, the share of the bound that is reached."""
    bounds = bound_tightness(report)
    pairs = sorted({_pair(name) for row in bounds.values() for name in row})

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, pair in enumerate(pairs):
            points = np.array(
                [
                    # Pairs side by side, within two thirds of the row.
                    (share, row + (place + 0.5 - len(pairs) / 2) / (1.5 * len(pairs)))
                    for row, shares in enumerate(bounds.values())
                    for name, share in shares.items()
                    if _pair(name) == pair
                ]
            )
            axes.plot(*points.T, "osD^vP*"[place % 7], markersize=4, label=pair)
        axes.set_yticks(range(len(bounds)), list(bounds))
        axes.invert_yaxis()
        largest = max(share for shares in bounds.values() for share in shares.values())
        axes.set(xlabel="measured over bound (1 is tight)", xlim=(-0.02, 1.05 * max(largest, 1)))
        figure.legend(loc="outside lower center", ncols=4)

    return _drawn((_WIDTH, 0.26 * len(bounds) + 1.3), draw)


def p_values(report: Report) -> bytes:
    """Draw the ordered p-values of the checks by replication against uniform quantiles."""
    found = stochastic(report)
    limit = report.false_alarm / len(found)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for relation, label in {"=": "equalities", "<=": "upper bounds"}.items():
            p_values = np.sort([p for p, its_relation in found if its_relation == relation])
            quantiles = (np.arange(len(p_values)) + 0.5) / max(len(p_values), 1)
            marker = "o" if relation == "=" else "^"
            shown = np.maximum(p_values, _LEAST_P)
            axes.loglog(quantiles, shown, marker, markersize=4, label=label)
        ends = np.array([0.5 / len(found), 1.0])
        axes.loglog(ends, ends, "k-", linewidth=1, label="uniform")
        axes.axhline(limit, color="k", linestyle=":", label="Holm's first limit")
        axes.set(xlabel="uniform quantile", ylabel="ordered p-values")
        axes.legend(loc="center right")

    return _drawn((_WIDTH, 3.6), draw)


def bound_tightness(report: Report) -> dict[str, dict[str, float]]:
    """Give, by claim and sample, the tightness of all upper bounds on one sample's maps."""
    by_claim = {
        verdict.claim.id: {
            name: evidence.tightness
            for name, evidence in zip(verdict.names, verdict.evidence, strict=True)
            if evidence.tightness is not None
        }
        for verdict in report.verdicts
        if verdict.claim.on is Case
    }
    return {claim_id: row for claim_id, row in by_claim.items() if row}


def stochastic(report: Report) -> list[tuple[float, str]]:
    """List the p-value and the relation of each check by replication."""
    evidence = [evidence for verdict in report.verdicts for evidence in verdict.evidence]
    return [(e.p_value, e.relation) for e in evidence if e.p_value is not None]


def _pair(name: str) -> str:
    """Pair of a case named as "stage1[3]"."""
    return name.rpartition("[")[0]


def _drawn(size: tuple[float, float], draw: Callable[[Figure], None]) -> bytes:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size)
        draw(figure)
        return _svg(figure)


def _svg(figure: Figure) -> bytes:
    file = BytesIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return file.getvalue()
