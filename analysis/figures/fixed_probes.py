"""FA while free features are trained by FFA, with fixed and with fresh probes (R2)."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from analysis.figures.drawing import DASHES, STYLE, Picture, Records, Row, new_figure, note

RECORD = "studies/fixed-probes"
_FLOOR = 1e-6


def draw(records: Records) -> Figure:
    """Draw a curve a kind of probes and k: the median of the seeds, with all of them as band."""
    result = records[RECORD].result
    with plt.style.context(STYLE):
        figure = new_figure(2.9)
        panel = figure.subplots()
        for name, runs in result["curves"].items():
            kind, k = name.split(", ")
            number = ("k = 1", "k = 5", "k = 15").index(k)
            shares = np.maximum(np.array(runs), _FLOOR)
            line = panel.semilogy(
                result["steps"],
                np.median(shares, axis=0),
                color=f"C{number}",
                ls="-" if kind == "fixed" else DASHES[2],
                label=name,
            )[0]
            panel.fill_between(
                result["steps"],
                shares.min(0),
                shares.max(0),
                color=line.get_color(),
                alpha=0.2,
                lw=0,
            )
        panel.set(xlabel="steps of Adam", ylabel="FA over its start", ylim=(_FLOOR, 2))
        panel.minorticks_off()
        figure.legend(loc="outside lower center", ncols=2)
        note(
            figure,
            f"Free features, {result['channels']} channels, {result['pixels']} pixels, trained by "
            f"FFA of order 2. Line: median of {len(result['seeds'])} seeds; band: least to "
            f"largest. "
            "Cut off below a millionth.",
        )
    return figure


def rows(records: Records) -> list[Row]:
    """Give FA over its start by kind, seed and step."""
    result = records[RECORD].result
    return [
        {"probes": name, "seed": seed, "step": step, "fa_over_start": share}
        for name, runs in result["curves"].items()
        for seed, shares in zip(result["seeds"], runs, strict=True)
        for step, share in zip(result["steps"], shares, strict=True)
    ]


PICTURE = Picture(
    name="fixed-against-fresh-probes",
    needs=(RECORD,),
    text="With fixed probes FA stops falling, the higher the fewer probes there are; with fresh "
    "probes it goes on towards nought for each k.",
    draw=draw,
    rows=rows,
)
