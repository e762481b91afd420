"""The gap's effective rank, and FA, through a training that captured maps after some epochs."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import faqd_math as fm
from analysis.rendering.figures import DASHES, legend_below, new_figure, note
from analysis.rendering.product import Product, Result
from analysis.rendering.tables import Row
from analysis.studies.study import Pairs, Sources, Study
from faqd_math.claims.feature_files import load_feature_pairs

_QUANTILES = (0.25, 0.5, 0.75)
_QUANTITIES = {"effective_rank": "effective rank ρ", "fa": "FA"}


def ranks(sources: Sources) -> Result:
    """Measure each captured epoch's maps: quartiles over the samples.

    Raises
    ------
    ValueError
        If the run captured nothing.
    """
    pairs = {epoch: load_feature_pairs(path) for epoch, path in sources.captured.items()}
    if not pairs:
        raise ValueError(
            f"{sources.folder} holds no captured maps; set run.capture and run.capture_epochs."
        )
    measured = {epoch: _measure(pairs[epoch]) for epoch in sorted(pairs)}
    first = next(iter(pairs.values()))
    return {
        "about": sources.describe(),
        "samples": len(next(iter(first.values()))[0]),
        "epochs": list(measured),
        "taps": {
            tap: {name: [m[tap][name] for m in measured.values()] for name in _QUANTITIES}
            for tap in first
        },
    }


def _measure(pairs: Pairs) -> dict[str, dict[str, list[float]]]:
    """Quartiles of ρ and FA over the samples, by tap."""
    answer = {}
    for tap, (students, teachers) in pairs.items():
        samples = list(zip(students, teachers, strict=True))
        of = {
            "effective_rank": [fm.effective_rank(fm.gap_spectrum(*sample)) for sample in samples],
            "fa": [fm.fa_loss(*sample) for sample in samples],
        }
        answer[tap] = {name: np.quantile(v, _QUANTILES).tolist() for name, v in of.items()}
    return answer


def draw(result: Result) -> Figure:
    """Draw medians over the images by tap, with the middle half as band."""
    figure = new_figure(2.6)
    panels = figure.subplots(1, 2)
    for panel, (quantity, label) in zip(panels, _QUANTITIES.items(), strict=True):
        for number, (tap, measured) in enumerate(result["taps"].items()):
            low, middle, high = np.array(measured[quantity]).T
            panel.plot(result["epochs"], middle, ls=DASHES[number], label=tap)
            panel.fill_between(result["epochs"], low, high, color=f"C{number}", alpha=0.2, lw=0)
        panel.set(xlabel="epoch", title=label)
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    panels[0].set_ylim(1, None)
    panels[1].set_ylim(0, None)
    legend_below(figure, panels[0], ncols=3)
    note(
        figure,
        f"{result['about']}, one seed. Line: median of {result['samples']} validation images; "
        f"band: their middle half.",
    )
    return figure


def rows(result: Result) -> list[Row]:
    """Give the quartiles by epoch, tap and quantity."""
    return [
        {"tap": tap, "quantity": quantity, "epoch": epoch}
        | dict(zip(("lower_quartile", "median", "upper_quartile"), quartiles, strict=True))
        for tap, measured in result["taps"].items()
        for quantity in _QUANTITIES
        for epoch, quartiles in zip(result["epochs"], measured[quantity], strict=True)
    ]


STUDY = Study(
    name="ranks",
    keys=frozenset({"about", "epochs", "taps", "samples"}),
    compute=ranks,
    needs="run",
    draws=False,
    products=(
        Product(
            name="effective-rank",
            text="The effective rank of the affinity gap and FA by epoch, for each tap.",
            draw=draw,
            rows=rows,
        ),
    ),
)
