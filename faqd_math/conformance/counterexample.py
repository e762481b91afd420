"""A failure as Python to paste: the maps as literals, the call, its result."""

from __future__ import annotations

from pprint import pformat
from textwrap import fill, indent
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # run.py makes findings, and this file prints them
    from faqd_math.conformance.run import Finding


def counterexample(finding: Finding, target: str) -> str:
    """Write a failing finding as a script that fails in the same way.

    Parameters
    ----------
    finding : Finding
        One with a case and a message.
    target : str
        The implementation, as MODULE:FUNCTION.

    Returns
    -------
    str
        Python. Its last statement raises AssertionError; the comment after it says the result,
        what was expected, and by which statement.
    """
    assertion, (module, function) = finding.checked.assertion, target.split(":")
    loss = "loss" if finding.checked.target == "loss" else "loss.gradient"
    options = [f"{name}={value!r}" for name, value in finding.checked.options.items()]
    arguments = ", ".join([loss, *finding.case, *options])
    said = finding.message or ""
    if not said.startswith(finding.checked.id):
        said = f"{finding.checked.id}: {said}"
    lines = [
        "import numpy as np",
        f"from {module} import {function}",
        "from faqd_math.conformance import Conventions, Implementation",
        f"from {assertion.__module__} import {assertion.__name__}",
        "",
        f"loss = Implementation({function}, {finding.conventions!r})",
        *(f"{name} = {_literal(value)}" for name, value in finding.case.items()),
        f"{assertion.__name__}({arguments})",
        indent(fill(said, 78), "# "),
    ]
    return "\n".join(lines)


def _literal(value: Any) -> str:
    """Print an array or a Seed as Python that gives it back exactly."""
    if not isinstance(value, np.ndarray):
        return repr(value)
    entries = pformat(value.tolist(), width=72, compact=True)
    dtype = "" if value.dtype == np.float64 else f", dtype=np.{value.dtype.name}"
    if "\n" not in entries:
        return f"np.array({entries}{dtype})"
    return f"np.array(\n{indent(entries, '    ')}{dtype}\n)"
