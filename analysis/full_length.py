"""The full-length experiments in their order, as many as a slice of time allows.

python -m analysis.full_length train --data DIR --networks DIR --out RUNS --seconds 550
python -m analysis.full_length pack RUNS --out DIR
python -m analysis.full_length unpack TAR… --out RUNS

What is not finished leaves a checkpoint, and the same command goes on with it. NETWORKS holds the
run folders that ``faqd-train import`` makes of the public networks, named as in `GROUPS`.
"""

from __future__ import annotations

import argparse
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from faqd_train import load_config
from faqd_train.config.schema import Config
from faqd_train.runs.folder import LOCK, RECORD
from faqd_train.runs.record import Record
from faqd_train.runs.run import run_together
from faqd_train.training.checkpoints import PREVIOUS, has_checkpoint

TAR_BYTES = 15 * 10**6
LEAST_SECONDS = 20.0  # with less, a group is not begun
RESERVE = 10.0  # seconds, for saving the states
# A folded teacher, mixed precision: see the section on speed in the README.
CPU = ("run.precision=bfloat16", "run.channels_last=true")
CUDA = ("run.precision=bfloat16", "run.channels_last=true", "run.cuda_graph=true")
# Tried in this order: compiled passes are refused where they lose a derivative.
COMPILED = (("run.compile=true",), ("run.compile=false",))
FOLDED = ("run.teacher.folded=true", "run.teacher.precision=bfloat16")

FINE_TUNED = ("optimizer.epochs=30", "optimizer.lr=0.001")
METHODS = {
    "kd": ("method=kd", "labels=label-free", *FOLDED),
    "fa": ("method=fa", "labels=label-free", *FOLDED),
    "ffa15": ("method=ffa15", "labels=label-free", *FOLDED),
    "ffa15-one-sided": ("method=ffa15-one-sided", "labels=label-free", *FOLDED),
    "qat": ("method=supervised",),
}


@dataclass(frozen=True)
class Group:
    """Students that train side by side: each method with each number of bits.

    Attributes
    ----------
    name : str
        Of the folder that holds their runs.
    data : str
        Name of a packaged configuration, and of the data set.
    teacher, start : str or None
        Folders in NETWORKS; without a start, training is from scratch.
    bits, methods : tuple of str
        Parts of the configuration, and names in `METHODS`.
    settings : tuple of str
        Of all of them.
    """

    name: str
    data: str
    teacher: str | None
    start: str | None
    bits: tuple[str, ...]
    methods: tuple[str, ...]
    settings: tuple[str, ...] = ()


LABEL_FREE = ("fa", "kd", "ffa15-one-sided", "ffa15")
GROUPS = (
    Group("cifar10-tuned-4w4a", "cifar10", "cifar10-resnet56", "cifar10-resnet20", ("4w4a",),
          LABEL_FREE, FINE_TUNED),
    Group("cifar10-tuned-4w4a-qat", "cifar10", None, "cifar10-resnet20", ("4w4a",), ("qat",),
          FINE_TUNED),
    Group("cifar10-tuned-low", "cifar10", "cifar10-resnet56", "cifar10-resnet20",
          ("2w4a", "1w4a"), ("fa", "kd"), FINE_TUNED),
    Group("cifar10-tuned-low-qat", "cifar10", None, "cifar10-resnet20", ("2w4a", "1w4a"),
          ("qat",), FINE_TUNED),
    Group("cifar10-scratch-4w4a", "cifar10", "cifar10-resnet56", None, ("4w4a",), ("fa", "kd")),
    Group("cifar100-tuned-4w4a", "cifar100", "cifar100-resnet56", "cifar100-resnet20", ("4w4a",),
          ("fa", "kd"), FINE_TUNED),
)  # fmt: skip


@dataclass(frozen=True)
class Places:
    """Where the data sets, the imported networks and the runs lie; settings of all runs."""

    data: Path  # a folder for each data set, of its name
    networks: Path
    out: Path
    settings: tuple[str, ...] = ()


def configs_of(
    group: Group, places: Places, device: str, seed: int, compiled: Sequence[str] = ()
) -> dict[Path, Config]:
    """Return the configuration of each student of a group, by the folder of its run."""
    speed = CUDA if device.startswith("cuda") else CPU
    common = [
        f'data.dir="{places.data / group.data}"',
        "model.kind=resnet",
        "run.checkpoint_epochs=5",
        f"run.seed={seed}",
        f"run.data_seed={seed}",
        *speed,
        *compiled,
        *group.settings,
    ]
    if group.start is not None:
        common.append(f'model.init="{places.networks / group.start}"')
    return {
        places.out / group.name / f"{method}-{bits}-seed{seed}": load_config(
            group.data, [f"bits={bits}", *METHODS[method], *common, *places.settings]
        )
        for bits in group.bits
        for method in group.methods
    }


def train_slice(
    places: Places,
    *,
    seconds: float,
    device: str = "cpu",
    seeds: Sequence[int] = (0,),
    groups: Sequence[Group] = GROUPS,
) -> Iterator[str]:
    """Train in the order of the groups until the time is over; yield a line for each run.

    Parameters
    ----------
    places : Places
        What to read and where to write.
    seconds : float
        After which the runs in progress save their states and stop.
    device : str
        "cpu" or "cuda".
    seeds : sequence of int
        All groups are trained by the first seed, then by the next.
    groups : sequence of Group
        What to train, in this order.
    """
    end = time.monotonic() + seconds
    for seed in seeds:
        for group in groups:
            open_runs = set(configs_of(group, places, device, seed))
            outcomes = dict.fromkeys(sorted(open_runs), "")
            for compiled in COMPILED:
                configs = configs_of(group, places, device, seed, compiled)
                configs = {out: c for out, c in configs.items() if _is_open(out, open_runs)}
                left = end - time.monotonic() - RESERVE
                if not configs or left < LEAST_SECONDS:
                    break
                teacher = None if group.teacher is None else places.networks / group.teacher
                results = run_together(
                    configs, teacher=teacher, resume=True, device=device, time_budget=left
                )
                outcomes |= {out: _reason(result) for out, result in results.items()}
                open_runs = {out for out, result in results.items() if _cannot_compile(result)}
            for out, reason in outcomes.items():
                yield f"{_name(out)}: {_state(out)}{reason}"


def pack(runs: Path, out: Path) -> list[Path]:
    """Write all run folders into tar files of at most 15 MB; return them.

    Of an unfinished run the last checkpoint goes along, the one before does not.
    """
    out.mkdir(parents=True, exist_ok=True)
    tars: list[Path] = []
    room = 0
    for folder in sorted({path.parent for path in runs.rglob("*") if path.is_file()}):
        files = [f for f in sorted(folder.iterdir()) if f.name not in (LOCK, PREVIOUS)]
        size = sum(file.stat().st_size for file in files)
        if not tars or size > room:
            tars.append(out / f"runs-{len(tars)}.tar")
            tars[-1].unlink(missing_ok=True)
            room = TAR_BYTES
        room -= size
        with tarfile.open(tars[-1], "a") as tar:
            for file in files:
                tar.add(file, arcname=str(file.relative_to(runs)), recursive=False)
    return tars


def unpack(tars: Sequence[Path], out: Path) -> None:
    """Put packed run folders back; only plain files below ``out`` are accepted (TarError)."""
    for path in tars:
        with tarfile.open(path) as tar:
            tar.extractall(out, filter="data")


def _is_open(out: Path, open_runs: set[Path]) -> bool:
    return out in open_runs and not (out / RECORD).exists()


def _cannot_compile(result: Record | Exception) -> bool:
    """Whether a run was refused as compiled, or had been begun otherwise."""
    return isinstance(result, ValueError) and "run.compile" in str(result)


def _reason(result: Record | Exception) -> str:
    return f", {result}" if isinstance(result, Exception) else ""


def _name(out: Path) -> str:
    return f"{out.parent.name}/{out.name}"


def _state(out: Path) -> str:
    if (out / RECORD).exists():
        return "finished"
    return "unfinished" if has_checkpoint(out) else "not begun"


def _show(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m analysis.full_length", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train a slice of the experiments")
    train.add_argument("settings", nargs="*", metavar="section.key=value", help="of all runs")
    train.add_argument("--data", type=Path, required=True, help="folder of the data sets' folders")
    train.add_argument("--networks", type=Path, required=True, help="folder of imported networks")
    train.add_argument("--out", type=Path, required=True, help="folder of the runs")
    train.add_argument("--seconds", type=float, required=True)
    train.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    train.add_argument("--seeds", type=int, nargs="+", default=[0])
    packing = commands.add_parser("pack", help="write run folders into tar files")
    packing.add_argument("runs", type=Path)
    packing.add_argument("--out", type=Path, required=True, help="folder of the tar files")
    unpacking = commands.add_parser("unpack", help="put packed run folders back")
    unpacking.add_argument("tars", type=Path, nargs="+")
    unpacking.add_argument("--out", type=Path, required=True, help="folder of the runs")
    options = parser.parse_args(arguments)
    if options.command == "train":
        places = Places(options.data, options.networks, options.out, tuple(options.settings))
        lines = train_slice(
            places, seconds=options.seconds, device=options.device, seeds=options.seeds
        )
        for line in lines:
            _show(line)
    elif options.command == "pack":
        for path in pack(options.runs, options.out):
            _show(str(path))
    else:
        unpack(options.tars, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
