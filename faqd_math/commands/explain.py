"""``faqd-math explain ID``: a claim with its formula, assumptions, proof sketch and source."""

from __future__ import annotations

import argparse
from textwrap import fill
from typing import Any

from faqd_math.claims import CLAIMS, Claim, find_claim


def add_explain(commands: Any) -> None:
    """Add the subcommand to an `argparse` parser's subparsers."""
    command = commands.add_parser("explain", help="print a claim: formula, proof sketch, source")
    command.add_argument("id", metavar="ID", nargs="?", help="as P8; without it, all claims")
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if options.id is None:
        print("\n".join(f"{claim.id:4} {claim.statement.sentence}" for claim in CLAIMS))
        return 0
    print(explanation(find_claim(options.id)))
    return 0


def explanation(claim: Claim) -> str:
    """Lay out a claim for the terminal, within 80 columns."""
    said = claim.statement
    parts = {
        "Formula (TeX)": said.tex,
        "Assumptions": said.assumptions,
        "Proof sketch": said.proof,
        "Source": said.source,
        "Checked by": f"{claim.method}, on {_SUBJECTS[claim.on.__name__]}",
    }
    return "\n\n".join(
        [
            _wrapped(f"{claim.id}. {said.sentence}"),
            *(f"{title}\n{_wrapped(text, ' ' * 4)}" for title, text in parts.items()),
        ]
    )


def _wrapped(text: str, indent: str = "") -> str:
    """Break lines at spaces, so that a formula can be copied."""
    return fill(text, 80, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


_SUBJECTS = {
    "Case": "each pair of feature maps",
    "Batch": "each batch of pairs",
    "Weights": "each layer of weights",
    "Standalone": "an example of its own",
}
