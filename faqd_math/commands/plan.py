"""``faqd-math plan``: the number of probes, what it risks and costs, and one line of advice."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from faqd_math._validation import Array, check_count
from faqd_math.claims.feature_files import load_feature_pairs
from faqd_math.claims.subjects import cases_from_pairs
from faqd_math.commands.output import add_number, require, write_whole
from faqd_math.theory.planning import MapSizes, ProbePlan, plan, plan_features, worst


def add_plan(commands: Any) -> None:
    """Add the subcommand to an `argparse` parser's subparsers."""
    command = commands.add_parser(
        "plan", help="choose the number of probes, for captured maps, a spectrum, or any gap"
    )
    command.add_argument(
        "--features",
        type=Path,
        metavar="FILE.npz",
        help="pairs student.NAME, teacher.NAME of maps (B, C, H, W)",
    )
    command.add_argument("--samples", type=int, help="samples of each pair (default: 16)")
    command.add_argument(
        "--spectrum", type=Path, metavar="FILE", help="eigenvalues of the gap: .npy, or text"
    )
    command.add_argument(
        "--eigenvalues", metavar="LIST", help="the same, as --eigenvalues=3,-1,0.5"
    )
    add_number(command, "--epsilon", 0.1, "relative error")
    add_number(command, "--delta", 0.05, "probability of a larger one")
    add_number(command, "--k", 15, "probes to judge")
    command.add_argument(
        "--shape", metavar="C,H,W", help="of the student's map, for the cost without --features"
    )
    command.add_argument(
        "--teacher-channels", type=int, metavar="C", help="with --shape (default: the student's)"
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="write the plan there too")
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    require("rich", extra="cli")
    from rich.console import Console

    from faqd_math.reports.plan import advice, plan_record, plan_tables, subject

    _refuse_contradictions(options)
    plans = _plans(options)
    if options.json:
        write_whole(options.json, json.dumps(plan_record(plans), indent=1) + "\n")
    console = Console()
    for table in plan_tables(plans):
        console.print(table)
    console.print(subject(plans), style="dim", highlight=False)
    for name, one in plans.items():
        label = f"{name}: " if options.features else ""
        console.print(f"{label}{advice(one)}", markup=False, highlight=False)
    return 0


def _refuse_contradictions(options: argparse.Namespace) -> None:
    names = ("features", "spectrum", "eigenvalues", "shape", "teacher_channels", "samples")
    has = {name: getattr(options, name) is not None for name in names}
    given = [f"--{name}" for name in names[:3] if has[name]]
    if len(given) > 1:
        raise ValueError(
            f"{' and '.join(given)} are given; one of them is accepted: choose which gap to plan "
            f"for."
        )
    for option, pointless, accepted in (
        ("--shape", has["shape"] and has["features"], "without --features, which has its shapes"),
        ("--teacher-channels", has["teacher_channels"] and not has["shape"], "with --shape"),
        ("--samples", has["samples"] and not has["features"], "with --features"),
    ):
        if pointless:
            raise ValueError(
                f"{option} is of no use here; it is accepted {accepted}: leave it out."
            )


def _plans(options: argparse.Namespace) -> dict[str, ProbePlan]:
    request = {"epsilon": options.epsilon, "delta": options.delta, "k": options.k}
    if options.features is not None:
        samples = 16 if options.samples is None else options.samples
        return {
            name: worst(
                [
                    plan_features(case.student, case.teacher, **request)
                    for case in cases_from_pairs({name: pair}, samples)
                ]
            )
            for name, pair in load_feature_pairs(options.features).items()
        }
    shape = _shape(options.shape, options.teacher_channels)
    if options.spectrum is not None:
        return {"spectrum": plan(_read_spectrum(options.spectrum), shape=shape, **request)}
    if options.eigenvalues is not None:
        spectrum = _numbers(options.eigenvalues, "--eigenvalues")
        return {"spectrum": plan(spectrum, shape=shape, **request)}
    return {"any gap": plan(shape=shape, **request)}


def _shape(text: str | None, teacher_channels: int | None) -> MapSizes | None:
    if text is None:
        return None
    sizes = text.split(",")
    if len(sizes) != 3 or not all(size.isdecimal() and int(size) for size in sizes):
        raise ValueError(
            f"--shape is {text!r}; C,H,W in positive whole numbers is accepted: pass the student's "
            f"channels, height and width, such as 16,32,32."
        )
    channels, height, width = map(int, sizes)
    teacher = channels if teacher_channels is None else teacher_channels
    return MapSizes(height * width, channels, check_count(teacher, "--teacher-channels"))


def _read_spectrum(path: Path) -> Array:
    """Read eigenvalues from a .npy file, or from text with blanks or commas between them."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not a file; eigenvalues in a .npy file or in text are accepted: check the "
            f"path, or write them there."
        )
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        text = path.read_text(encoding="utf-8")
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}); a .npy file of one numeric array, or any other of "
            f"text, is accepted: write it with np.save."
        ) from error
    return _numbers(text, str(path))


def _numbers(text: str, name: str) -> Array:
    return np.array([_number(word, name) for word in text.replace(",", " ").split()], dtype=float)


def _number(word: str, name: str) -> float:
    try:
        return float(word)
    except ValueError as error:
        raise ValueError(
            f"{name} holds {word!r}, which is not a number; eigenvalues with blanks or commas "
            f"between them are accepted: remove all else."
        ) from error
