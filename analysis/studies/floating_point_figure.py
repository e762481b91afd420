"""Rounding of plain formulas and of the losses, in float32, as student and teacher agree."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.rendering.figures import DASHES, MARKERS, new_figure, note
from analysis.rendering.product import Result
from analysis.rendering.tables import Row

_PATHS = {
    "plain gram": "plain Gram",
    "plain direct": "plain direct",
    "plain ffa": "plain FFA",
    "fa_loss": "fa_loss",
    "ffa_loss": "ffa_loss",
}


def draw(result: Result) -> Figure:
    """Draw relative errors of float32 against the gap, and the bound on plain Gram."""
    figure = new_figure(2.9)
    panel = figure.subplots()
    for number, (path, label) in enumerate(_PATHS.items()):
        chosen = [r for r in result["rows"] if r["path"] == path and r["dtype"] == "float32"]
        shown = [(r["gap"], r["error"]) for r in chosen if r["error"] > 0]
        panel.plot(
            *zip(*shown, strict=True),
            ls=DASHES[number],
            marker=MARKERS[number],
            mfc="white",
            label=label,
        )
        if path == "plain gram":
            bound = [(r["gap"], r["bound"]) for r in chosen if r["bound"] is not None]
            panel.plot(*zip(*bound, strict=True), color="0.5", lw=0.8, label="bound, plain Gram")
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.invert_xaxis()
    panel.minorticks_off()
    panel.set(xlabel="gap between the maps (they agree towards the right)")
    panel.set(ylabel="relative error", ylim=(1e-11, 1e16))
    panel.axhline(1, color="0.4", lw=0.8, ls=":")
    figure.legend(loc="outside lower center", ncols=3, columnspacing=1)
    note(
        figure,
        f"Maps of float32, {result['channels']} channels, {result['pixels']} pixels, one draw "
        f"for each gap. No digit is right above the dotted line. fa_loss and ffa_loss: as in "
        f"faqd_train.",
    )
    return figure


def rows(result: Result) -> list[Row]:
    """Give every error and bound, of all dtypes."""
    return [dict(row) for row in result["rows"]]
