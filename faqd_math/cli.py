"""The command ``faqd-math``: a thin layer over the Python functions that do the same."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from faqd_math.commands.check import add_check
from faqd_math.commands.explain import add_explain
from faqd_math.commands.plan import add_plan
from faqd_math.commands.verify import add_verify


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code.

    0: done, and every claim holds. 1: a claim fails. 2: the request cannot be carried out.
    """
    parser = argparse.ArgumentParser(
        prog="faqd-math", description="Validate the error estimates of feature affinity."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (add_verify, add_check, add_explain, add_plan):
        add(commands)
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except (OSError, TypeError, ValueError) as error:
        print(f"faqd-math: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
