"""Run a study and write its record.

python -m analysis.studies cost
python -m analysis.studies probe-errors --features maps.npz --about "CIFAR-10, FA" --subject fa
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

from analysis import results
from analysis.estimators import compare_estimators
from analysis.floating_point import error_table
from analysis.studies.affinities import affinities
from analysis.studies.costs import costs
from analysis.studies.fixed_probes import fixed_probes
from analysis.studies.gradient_noise import gradient_noise
from analysis.studies.inputs import Pairs
from analysis.studies.orders import orders
from analysis.studies.probe_errors import probe_errors
from analysis.studies.quantizers import quantizers
from analysis.studies.ranks import captured, ranks
from analysis.studies.speed import speed
from faqd_math.claims import cases_from_pairs
from faqd_math.claims.feature_files import load_feature_pairs


@dataclass(frozen=True)
class Sources:
    """What the command line names."""

    about: str
    seed: int
    features: Path | None
    weights: Path | None
    run: Path | None

    @property
    def rng(self) -> np.random.Generator:
        """The draws of the study."""
        return np.random.default_rng(self.seed)

    @property
    def pairs(self) -> Pairs:
        """Captured maps."""
        return load_feature_pairs(_needed(self.features, "--features"))


def _estimators(sources: Sources) -> dict[str, Any]:
    k, replications = 15, 400
    errors = compare_estimators(
        cases_from_pairs(sources.pairs, 4), rng=sources.rng, k=k, replications=replications
    )
    return {
        "about": sources.about,
        "k": k,
        "replications": replications,
        "errors": [asdict(error) for error in errors],
    }


def _floating_point(sources: Sources) -> dict[str, Any]:
    channels, side = 8, 8
    generator = torch.Generator().manual_seed(sources.seed)
    rows = error_table(generator=generator, channels=channels, side=side)
    return {
        "channels": channels,
        "pixels": side**2,
        "rows": [
            asdict(replace(row, bound=row.bound if np.isfinite(row.bound) else None))
            | {"dtype": str(row.dtype).removeprefix("torch.")}
            for row in rows
        ],
    }


def _quantizers(sources: Sources) -> dict[str, Any]:
    tensors = load_file(_needed(sources.weights, "--weights"))
    # Convolutions: what is quantized but the classifier.
    layers = {name: w.astype(np.float64) for name, w in tensors.items() if w.ndim == 4}
    return quantizers(layers, sources.about)


def _affinities(sources: Sources) -> dict[str, Any]:
    """Take the maps of a run that captured them."""
    run = _needed(sources.run, "--run")
    before, after = (load_feature_pairs(run / f"features_{m}.npz") for m in ("before", "after"))
    return affinities(before, after, sources.about)


STUDIES: Mapping[str, Callable[[Sources], dict[str, Any]]] = {
    "affinities": _affinities,
    "cost": lambda s: costs(rng=s.rng),
    "estimators": _estimators,
    "fixed-probes": lambda _: fixed_probes(),
    "floating-point": _floating_point,
    "gradient-noise": lambda s: gradient_noise(s.pairs, s.about, rng=s.rng),
    "orders": lambda s: orders(s.pairs, s.about, rng=s.rng),
    "probe-errors": lambda s: probe_errors(s.pairs, s.about, rng=s.rng),
    "quantizers": _quantizers,
    "ranks": lambda s: ranks(_needed(s.run, "--run"), s.about),
    "speed": lambda s: speed(seed=s.seed),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study that the command line names."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="python -m analysis.studies", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("study", choices=sorted(STUDIES))
    parser.add_argument("--features", type=Path, metavar="NPZ", help="captured maps")
    parser.add_argument("--weights", type=Path, metavar="SAFETENSORS", help="of a float network")
    parser.add_argument("--run", type=Path, metavar="FOLDER", help="of a run that captured maps")
    parser.add_argument("--about", default="", help="what the input is, for captions")
    parser.add_argument("--seed", type=int, default=0, help="of all draws; default: 0")
    parser.add_argument("--to", type=Path, default=results.FOLDER, help="folder of records")
    options = vars(parser.parse_args(given))
    study, to = options.pop("study"), options.pop("to")
    sources = Sources(**options)
    files = [p for p in (sources.features, sources.weights) if p is not None]
    if sources.run is not None:
        files += sorted(captured(sources.run).values())
    try:
        result = STUDIES[study](sources)
    except ValueError as error:
        parser.error(str(error))
    path = to / "studies" / f"{study}.json"
    results.save(
        path,
        study,
        result,
        command=f"python -m analysis.studies {' '.join(_without_folders(given))}",
        seeds=result.get("seeds", [sources.seed]),
        inputs={file.name: results.file_sha256(file) for file in files},
    )
    sys.stdout.write(f"{path}\n")
    return 0


def _needed(path: Path | None, option: str) -> Path:
    if path is None:
        raise ValueError(f"this study got no {option}; a file or folder is needed: name one.")
    return path


def _without_folders(arguments: Sequence[str]) -> list[str]:
    """Keep the names of files: where they lay says nothing elsewhere."""
    return [repr(a) if " " in a else Path(a).name if "/" in a else a for a in arguments]


if __name__ == "__main__":
    sys.exit(main())
