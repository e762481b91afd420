"""Tables of speed: every path at the stages of the networks, and a whole training step."""

from __future__ import annotations

from analysis.figures.drawing import Records, Row
from analysis.figures.speed import RECORD, RELEASED_FA, RELEASED_FFA, ratio
from analysis.tables.rendering import Table


def losses(records: Records) -> list[Row]:
    """Give what each path costs at each stage, beside the released ones and the limit."""
    rows: list[Row] = []
    for table in records[RECORD].result["losses"]:
        shape = table["shape"]
        for row in table["rows"]:
            over = [ratio(table, row["path"], name) for name in (RELEASED_FA, RELEASED_FFA)]
            times = row["seconds"]
            rows.append(
                {
                    "stage": shape["name"],
                    "shape": f"{shape['batch']}×{shape['channels']}×{shape['side']}²",
                    "path": row["path"],
                    "ms": None if times is None else 1000 * times["median"],
                    "times as fast as released FA": over[0] and over[0]["ratio"],
                    "as released FFA": over[1] and over[1]["ratio"],
                    "MB": None if times is None else row["peak_bytes"] / 1e6,
                    "over limit": None if times is None else times["median"] / row["limit_seconds"],
                    "not run": row["not_run"],
                }
            )
    return rows


def steps(records: Records) -> list[Row]:
    """Give what a training step costs, and FA's part of it."""
    step = records[RECORD].result["step"]
    return [
        {
            "step": name,
            "ms": 1000 * step[name]["step"]["median"],
            "images/s": step["batch"] / step[name]["step"]["median"],
            "FA's share": step[name]["fa"]["median"] / step[name]["step"]["median"],
            "times as fast": step["released"]["step"]["median"] / step[name]["step"]["median"],
        }
        for name in ("released", "ours")
    ]


TABLES = (
    Table(
        name="speed-of-losses",
        needs=(RECORD,),
        caption="Each loss of order 2, forward and backward, in float32: median time, how many "
        "times as fast as the released FA and FFA (k = 15), memory at the peak beyond both maps, "
        "and time over the least that bandwidth and matrix rate allow.",
        rows=losses,
    ),
    Table(
        name="training-step",
        needs=(RECORD,),
        caption="A training step of 4W4A ResNet-20 under ResNet-110 with KD and FA, released and "
        "ours; FA's share is that of its time alone.",
        rows=steps,
    ),
)
