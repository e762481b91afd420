"""What the benchmark measured, as tables for a terminal of 80 columns."""

from __future__ import annotations

from rich import box
from rich.console import JustifyMethod, RenderableType
from rich.table import Table

from faqd_train.benchmark import loss_paths
from faqd_train.benchmark.growth import Growth
from faqd_train.benchmark.limits import Limits
from faqd_train.benchmark.loss_paths import RELEASED_FA, RELEASED_FFA, Row
from faqd_train.benchmark.running import Part
from faqd_train.benchmark.shapes import Shape
from faqd_train.benchmark.timing import Spread, spread
from faqd_train.benchmark.training_step import StepComparison, StepCost

LEGEND = (
    "Forward and backward, order 2, float32. ms: median [quartiles] of interleaved calls. ×FA, "
    "×FFA: how many times as fast as the released FA and FFA. MB: held at the peak beyond both "
    "maps. /limit: times the least that this machine's rates allow for what the path computes."
)


def render(part: Part) -> RenderableType:
    """Lay out one result of `running.run`."""
    if isinstance(part, Limits):
        return limits_text(part)
    if isinstance(part, Growth):
        return growth_table(part)
    if isinstance(part, StepComparison):
        return step_table(part)
    return loss_table(part)


def limits_text(limits: Limits) -> str:
    """Say what the machine can do, and what the columns of the tables are."""
    return (
        f"{LEGEND}\n\nRates: copies {limits.bytes_per_second / 1e9:.1f} GB/s, multiplies "
        f"{limits.multiply_adds_per_second / 1e9:.1f} G multiply-adds/s.\n"
    )


def loss_table(measured: loss_paths.Table) -> Table:
    """Lay out all paths at one shape."""
    table = _table(_title(measured), "path", "ms", "×FA", "×FFA", "MB", "/limit")
    released = measured.median(RELEASED_FA), measured.median(RELEASED_FFA)
    for row in measured.rows:
        table.add_row(row.path, *_cells(row, *released))
    return table


def growth_table(growth: Growth) -> Table:
    """Lay out time and memory of exact FA by resolution."""
    first = growth.shapes[0]
    title = f"Exact FA, batch {first.batch}, {first.channels} channels, by resolution"
    table = _table(title, "side²", "N", "ms", "MB", "× both maps")
    for i, (shape, times) in enumerate(zip(growth.shapes, growth.seconds, strict=True)):
        table.add_row(
            f"{shape.side}²",
            f"{shape.pixels:,}",
            _milliseconds(spread(times)),
            _megabytes(growth.peak_bytes[i]),
            f"{growth.added(i):.2f}",
        )
    return table


def step_table(comparison: StepComparison) -> Table:
    """Lay out both training steps, with how far their losses on the same maps differ."""
    model = comparison.config["model"]
    title = (
        f"A training step: ResNet-{comparison.teacher_depth} teaches ResNet-{model['depth']}, "
        f"batch {comparison.batch}"
    )
    table = _table(title, "step", "ms", "images/s", "FA alone, ms", "FA's share")
    for name, cost in (("released", comparison.released), ("ours", comparison.ours)):
        table.add_row(name, *_step_cells(cost, comparison.batch))
    ratio = comparison.released.step.median / comparison.ours.step.median
    gaps = ", ".join(f"{name} {gap:.0e}" for name, gap in comparison.differences.items())
    table.caption = (
        f"Ours is {ratio:.2f} times as fast. On the same logits and maps the losses differ, "
        f"relative to ours, by: {gaps}."
    )
    table.caption_justify = "left"
    return table


def _title(measured: loss_paths.Table) -> str:
    shape: Shape = measured.shape
    lowered = f" of {measured.full_batch}, to fit" if shape.batch < measured.full_batch else ""
    return (
        f"{shape.name}: batch {shape.batch}{lowered}, {shape.channels} channels, {shape.side}² "
        f"pixels"
    )


def _cells(row: Row, released_fa: float | None, released_ffa: float | None) -> list[str]:
    if row.seconds is None or row.peak_bytes is None:
        return [f"not run: {row.not_run}", "", "", "", ""]
    return [
        _milliseconds(row.seconds),
        _times(released_fa, row.seconds),
        _times(released_ffa, row.seconds),
        _megabytes(row.peak_bytes),
        f"{row.seconds.median / row.limit_seconds:.1f}",
    ]


def _step_cells(cost: StepCost, batch: int) -> list[str]:
    return [
        _milliseconds(cost.step),
        f"{batch / cost.step.median:.1f}",
        _milliseconds(cost.fa),
        f"{cost.fa_share:.1%}",
    ]


def _times(released: float | None, ours: Spread) -> str:
    return "" if released is None else f"{released / ours.median:.3g}"


def _milliseconds(times: Spread) -> str:
    """Median and quartiles, with three digits of the median.

    Examples
    --------
    >>> _milliseconds(Spread(0.0123, 0.0119, 0.02, 9)), _milliseconds(Spread(1.2, 1.1, 1.3, 9))
    ('12.3 [11.9–20.0]', '1,200 [1,100–1,300]')
    """
    median = 1000 * times.median
    digits = 0 if median >= 100 else 1 if median >= 10 else 2 if median >= 1 else 3
    return f"{median:,.{digits}f} [{1000 * times.low:,.{digits}f}–{1000 * times.high:,.{digits}f}]"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.2f}"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        side: JustifyMethod = "left" if column in ("path", "step") else "right"
        table.add_column(column, justify=side, no_wrap=True)
    return table
