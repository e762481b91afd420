"""What a study is, and what it starts from: captured maps, a run's folder, weights."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from analysis.records.identity import describe_run
from analysis.rendering.product import Product, Result
from faqd_math.claims.feature_files import load_feature_pairs

Array = NDArray[np.floating[Any]]
# By tap, the student's maps and the teacher's, (B, C, H, W).
Pairs = dict[str, tuple[Array, Array]]

_CAPTURED = re.compile(r"features_(before|after|epoch\d+)\.npz")
_DATA = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "digits": "Digits"}


@dataclass(frozen=True)
class Sources:
    """Where a study's inputs lie, and the seed of its draws.

    Attributes
    ----------
    about : str
        What the input is, for captions; "": said by the run.
    seed : int
    features : Path or None
        Captured maps, .npz; None: those of the run after training.
    weights : Path or None
        A float network's weights, .safetensors.
    run : Path or None
        Folder of a run with ``run.capture`` and, for the course of training,
        ``run.capture_epochs``.
    """

    about: str = ""
    seed: int = 0
    features: Path | None = None
    weights: Path | None = None
    run: Path | None = None

    @property
    def rng(self) -> np.random.Generator:
        """The draws of the study."""
        return np.random.default_rng(self.seed)

    @property
    def maps_file(self) -> Path:
        """File of the maps after training."""
        if self.features is None and self.run is not None:
            return self.run / "features_after.npz"
        return _given(self.features, "--features or --run")

    @property
    def pairs(self) -> Pairs:
        """Maps after training."""
        return load_feature_pairs(self.maps_file)

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return _given(self.run, "--run")

    @property
    def weights_file(self) -> Path:
        """File of a float network's weights."""
        return _given(self.weights, "--weights")

    @property
    def layers(self) -> dict[str, Array]:
        """Weights of the convolutions: all that is quantized but the classifier."""
        tensors = load_file(self.weights_file)
        return {name: w.astype(np.float64) for name, w in tensors.items() if w.ndim == 4}

    @property
    def captured(self) -> dict[int, Path]:
        """The run's files of maps by epochs done; "after" counts where the run is finished."""
        record = self.folder / "run.json"
        last = len(json.loads(record.read_text("utf-8"))["epochs"]) if record.is_file() else None
        matches = {p: _CAPTURED.fullmatch(p.name) for p in sorted(self.folder.iterdir())}
        moments = {p: match[1] for p, match in matches.items() if match}
        ends = {"before": 0, "after": last}
        files = {ends[m] if m in ends else int(m[5:]): path for path, m in moments.items()}
        return {epoch: files[epoch] for epoch in sorted(e for e in files if e is not None)}

    def describe(self, folder: Path | None = None) -> str:
        """Say in a caption's words what the input is: what a folder's run.json tells."""
        record = (folder or self.run or Path()) / "run.json"
        if self.about or not record.is_file():
            return self.about
        run = json.loads(record.read_text("utf-8"))
        words = describe_run(run)
        data = _DATA.get(words["data"], words["data"])
        kind = f"{data}, {words['bits']} {words['network']} by {words['method']}"
        return f"{kind}, {len(run['epochs'])} epochs"


@dataclass(frozen=True)
class Study:
    """One study; its record is ``studies/NAME``.

    Attributes
    ----------
    name : str
    keys : frozenset of str
        What its result holds at least.
    compute : callable
        Computes the result from `Sources`.
    products : tuple of Product
        Figures and tables of the record.
    needs : {"nothing", "maps", "run", "weights"}
        What of `Sources` it starts from.
    k : tuple of int
        Numbers of probes that it uses.
    replications : int, optional
        Draws of each number.
    draws : bool
        Whether the seed decides anything.
    """

    name: str
    keys: frozenset[str]
    compute: Callable[[Sources], Result]
    products: tuple[Product, ...]
    needs: Literal["nothing", "maps", "run", "weights"] = "nothing"
    k: tuple[int, ...] = ()
    replications: int | None = None
    draws: bool = True

    def has_inputs(self, sources: Sources) -> bool:
        """Whether the command line names what the study starts from."""
        return {
            "nothing": True,
            "maps": (sources.features or sources.run) is not None,
            "run": sources.run is not None,
            "weights": sources.weights is not None,
        }[self.needs]

    def input_files(self, sources: Sources) -> list[Path]:
        """Files that the result is computed from."""
        if self.needs == "maps":
            return [sources.maps_file]
        if self.needs == "run":
            return list(sources.captured.values())
        return [sources.weights_file] if self.needs == "weights" else []


def crop(maps: Array, side: int) -> Array:
    """Return the central square of maps (…, H, W)."""
    top, left = ((size - side) // 2 for size in maps.shape[-2:])
    return maps[..., top : top + side, left : left + side]


def _given(path: Path | None, option: str) -> Path:
    if path is None:
        raise ValueError(f"this study got no {option}; a file or folder is needed: name one.")
    return path
