"""What made a report: version, revision, settings, and the command that makes it again."""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import faqd_math

_PACKAGE = Path(faqd_math.__file__).parent


@dataclass(frozen=True)
class Provenance:
    """What a report was made with.

    Attributes
    ----------
    command : str
        Makes the report again, where the files that it names are.
    seeds : list of int
    k, replications, samples : int
        Probes and draws of each estimate, and samples of each pair of maps.
    features_sha256 : str or None
        Of the file of feature maps; None where the standard maps were taken.
    version : str
        Of the package.
    revision : str or None
        Commit of the package's own checkout; None where it is installed elsewhere.
    dirty : bool or None
        Whether files of the package differ from that commit, or are not in it.
    """

    command: str
    seeds: list[int]
    k: int
    replications: int
    samples: int
    features_sha256: str | None
    version: str
    revision: str | None
    dirty: bool | None


def provenance(
    command: str, *, seed: int, k: int, replications: int, samples: int, features: Path | None
) -> Provenance:
    """Describe a report that is being made: its settings, and the state of the package."""
    sha256 = None if features is None else hashlib.sha256(features.read_bytes()).hexdigest()
    revision, dirty = checkout_state(_PACKAGE)
    return Provenance(
        command, [seed], k, replications, samples, sha256, faqd_math.__version__, revision, dirty
    )


def checkout_state(package: Path) -> tuple[str | None, bool | None]:
    """Return the commit of a package's own checkout, and whether the package differs from it.

    Parameters
    ----------
    package : Path
        The package's folder.

    Returns
    -------
    revision : str or None
    dirty : bool or None
        Both None where the folder does not lie, tracked, at the top of a git checkout: that of a
        project in whose environment the package is installed says nothing about it.
    """
    top = _git(package.parent, "rev-parse", "--show-toplevel")
    tracked = _git(package.parent, "ls-files", "--error-unmatch", f"{package.name}/__init__.py")
    revision = _git(package.parent, "rev-parse", "HEAD")
    if top is None or not tracked or Path(top).resolve() != package.parent.resolve():
        return None, None
    return revision, bool(_git(package.parent, "status", "--porcelain", "--", package.name))


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints; None where it fails or is not installed."""
    # Such as GIT_DIR, which a hook sets, and which names another repository.
    environment = {name: v for name, v in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
