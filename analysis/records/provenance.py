"""Which code computed a result: version, revision and whether the tree was dirty, packages."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from faqd_train.runs.record import checkout

_PACKAGES = ("numpy", "scipy", "torch")


@dataclass(frozen=True)
class Origin:
    """The code that computed a result; see `analysis.records.store.Record`."""

    version: str | None
    revision: str | None
    dirty: bool | None
    versions: Mapping[str, str]


def current_origin() -> Origin:
    """Describe the code of this process."""
    revision, dirty = checkout(Path(__file__))
    packages = {name: version(name) for name in _PACKAGES}
    return Origin(
        version("faqd"), revision, dirty, {"python": platform.python_version()} | packages
    )
