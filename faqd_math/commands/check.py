"""``faqd-math check MODULE:FUNCTION``: the properties of anyone's FA or FFA."""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from faqd_math.commands.output import add_number, progress, require

if TYPE_CHECKING:  # Hypothesis and rich are imported only where the command runs
    from faqd_math.conformance import Conventions

_EXAMPLES = """\
examples:
  faqd-math check my_package.losses:fa_loss
      FA of order 2 on batches (B, C, H, W): the mean of ‖A‖²/N² over samples
  faqd-math check my_losses:fa --torch --dtype float32 --root --reduction sum
      tensors; ‖A‖/N over the whole batch
  faqd-math check my_losses:ffa --probes argument --single
      FFA of one pair of maps (C, H, W) with probes (N, k) as third argument
  faqd-math check faqd_train:ffa_loss --torch --probes inside --generator generator
      FFA that draws 15 probes from the torch.Generator passed as generator=
  faqd-math check my_losses:fa --order 1 --divide-by N --set eps=0.0
      the sum of |A_ij| over N, called with eps=0.0
"""


def add_check(commands: Any) -> None:
    """Add the subcommand to an `argparse` parser's subparsers."""
    command = commands.add_parser(
        "check",
        help="test any implementation of FA or FFA, NumPy or torch",
        description="Test an implementation of FA or FFA. Exit code 1 if a property fails.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("target", metavar="MODULE:FUNCTION", help="takes (student, teacher)")
    command.add_argument("--kind", choices=["fa", "ffa"], help="(default: ffa with --probes)")
    command.add_argument("--order", type=int, choices=[1, 2], default=2, help="(default: 2)")
    command.add_argument("--root", action="store_true", help="order 2 is ‖A‖/N, not its square")
    maps = command.add_mutually_exclusive_group()
    maps.add_argument(
        "--reduction",
        choices=["mean", "sum", "none"],
        default="mean",
        help="what a batch gives (default: mean)",
    )
    maps.add_argument("--single", action="store_true", help="takes maps (C, H, W), no batches")
    command.add_argument(
        "--probes",
        choices=["argument", "inside"],
        help="of FFA: third argument (or keyword-only probes=), or drawn inside",
    )
    command.add_argument(
        "--generator",
        "--rng",
        metavar="NAME",
        help="keyword of the generator that draws the probes inside",
    )
    add_number(command, "--k", 15, "probes drawn inside")
    command.add_argument(
        "--divide-by",
        choices=["N2", "N", "1"],
        default="N2",
        help="what the sum over the N×N entries is divided by (default: N2)",
    )
    command.add_argument("--torch", action="store_true", help="it takes tensors; gradients too")
    command.add_argument(
        "--dtype",
        choices=["float64", "float32"],
        default="float64",
        help="of the maps; tolerances follow (default: float64)",
    )
    command.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a further keyword argument, as order=1; repeatable",
    )
    command.add_argument(
        "--skip", metavar="ID", action="append", default=[], help="leave a property out; repeatable"
    )
    add_number(command, "--examples", 100, "maps per search")
    add_number(command, "--replications", 2000, "calls that a mean is taken over")
    add_number(command, "--seed", 0, "of the maps")
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    require("hypothesis", extra="testing")
    require("rich", extra="cli")
    from rich.console import Console

    from faqd_math.conformance import check, counterexample
    from faqd_math.reports.findings import findings_table, summary

    conventions = _conventions(options)
    findings = check(
        load_function(options.target),
        conventions,
        examples=options.examples,
        replications=options.replications,
        seed=options.seed,
        skip=options.skip,
        progress=partial(progress, description="checking"),
    )
    console = Console()
    console.print(findings_table(findings))
    failing = [finding for finding in findings if not finding.holds]
    for finding in failing:
        print(f"{counterexample(finding, options.target)}\n")
    print(summary(findings, options.target, options.replications))
    return 1 if failing else 0


def load_function(target: str) -> Callable[..., Any]:
    """Import MODULE:FUNCTION, from the working directory too; ValueError where that fails."""
    module, separator, name = target.partition(":")
    if not (module and separator and name):
        raise ValueError(
            f"the implementation is {target!r}; MODULE:FUNCTION is accepted, as "
            f"my_package.losses:fa_loss."
        )
    # As `python -m` does: the command's own folder stands there otherwise.
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        imported = import_module(module)
    except Exception as error:  # whatever a module may raise while it is imported
        raise ValueError(
            f"module {module!r} cannot be imported ({error}); one that Python finds from here is "
            f"accepted: change to its folder or install it."
        ) from error
    if not hasattr(imported, name):
        raise ValueError(
            f"module {module!r} has no {name!r}; a function at its top level is accepted: mind "
            f"the spelling."
        )
    return getattr(imported, name)


def _conventions(options: argparse.Namespace) -> Conventions:
    from faqd_math.conformance import Conventions

    return Conventions(
        kind=options.kind or ("ffa" if options.probes else "fa"),
        order=options.order,
        root=options.root,
        maps="single" if options.single else options.reduction,
        probes=options.probes,
        generator=options.generator,
        k=options.k,
        divisor=options.divide_by,
        torch=options.torch,
        dtype=options.dtype,
        keywords=dict(_keyword(setting) for setting in options.set),
    )


def _keyword(setting: str) -> tuple[str, Any]:
    name, separator, text = setting.partition("=")
    if not (name.isidentifier() and separator):
        raise ValueError(f"--set {setting!r} was given; NAME=VALUE is accepted, as order=1.")
    try:
        return name, ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return name, text  # a word, as in law=rademacher
