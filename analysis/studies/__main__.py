"""Run a study, or all whose inputs are at hand, and write their records.

python -m analysis.studies cost
python -m analysis.studies probe-errors --features maps.npz --about "CIFAR-10, student by FA"
python -m analysis.studies all --run runs/fa --weights runs/float/weights.safetensors
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.records import store
from analysis.rendering.product import Result
from analysis.studies.registry import STUDIES
from analysis.studies.study import Sources, Study

ALL = "all"
_OPTIONS = {"maps": "--run or --features", "run": "--run", "weights": "--weights"}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line, which every study's record names."""
    own = argparse.ArgumentParser(prog="python -m analysis.studies", description=__doc__)
    own.formatter_class = argparse.RawDescriptionHelpFormatter
    own.add_argument("study", choices=[*sorted(STUDIES), ALL])
    own.add_argument("--features", type=Path, metavar="NPZ", help="captured maps")
    own.add_argument("--weights", type=Path, metavar="SAFETENSORS", help="of a float network")
    own.add_argument("--run", type=Path, metavar="FOLDER", help="of a run that captured maps")
    own.add_argument("--about", default="", help="what the input is; default: as the run says")
    own.add_argument("--seed", type=int, default=0, help="of all draws; default: %(default)s")
    own.add_argument("--to", type=Path, default=store.FOLDER, help="folder of the records")
    own.add_argument("--replace", action="store_true", help="replace records of other content")
    return own


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line names; say which studies of "all" lack their inputs."""
    own = parser()
    options = own.parse_args(arguments)
    sources = Sources(options.about, options.seed, options.features, options.weights, options.run)
    chosen = STUDIES.values() if options.study == ALL else [STUDIES[options.study]]
    try:
        for study in chosen:
            if options.study == ALL and not study.has_inputs(sources):
                sys.stdout.write(f"{study.name}: kept, as it needs {_OPTIONS[study.needs]}\n")
                continue
            record = run_study(study, sources)
            path = options.to / "studies" / f"{study.name}.json"
            sys.stdout.write(f"{store.write(path, record, replace=options.replace)}\n")
    except ValueError as error:
        own.error(str(error))
    return 0


def run_study(study: Study, sources: Sources) -> store.Record:
    """Compute a study's result and seal it with how it was made."""
    files = study.input_files(sources)
    result = study.compute(sources)
    store.check_keys(result, study.name, study.keys)
    made = store.Made(
        command=_command(study, sources, result),
        seeds=result.get("seeds", [sources.seed] if study.draws else []),
        k=study.k,
        replications=study.replications,
        inputs={file.name: store.file_sha256(file) for file in files},
    )
    return store.seal(study.name, result, made)


def _command(study: Study, sources: Sources, result: Result) -> str:
    """Name files and folders by their last part: where they lay says nothing elsewhere."""
    words = ["python", "-m", "analysis.studies", study.name]
    if study.needs == "maps" and sources.features is not None:
        words += ["--features", sources.features.name]
    elif study.needs in ("maps", "run") and sources.run is not None:
        words += ["--run", sources.run.resolve().name]
    elif study.needs == "weights" and sources.weights is not None:
        words += ["--weights", sources.weights.name]
    if about := result.get("about"):
        words += ["--about", about]
    words += ["--seed", str(sources.seed)] if study.draws and sources.seed else []
    return shlex.join(words)


if __name__ == "__main__":
    sys.exit(main())
