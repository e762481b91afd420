"""Finished runs and claim reports become records.

python -m analysis.collect runs runs/digits/*/
python -m analysis.collect claims report.json --name standard --command "faqd-math verify"
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis import results
from faqd_train.config.migration import recorded_config
from faqd_train.config.networks import FactoryConfig, ModelConfig
from faqd_train.config.objective import ObjectiveConfig
from faqd_train.config.quantization import QuantizationConfig
from faqd_train.runs.record import read_record

_PER_EPOCH = ("epoch", "loss", "terms", "validation_accuracy", "lr")
_VERSIONS = ("python", "faqd", "numpy", "torch")
_NEEDED = ("config", "data", "environment", "epochs", "test_accuracy", "validation_accuracy")


def add_run(folder: Path, to: Path = results.FOLDER) -> Path:
    """Turn a finished run's folder into a record; return its path.

    Raises
    ------
    ValueError
        If the folder holds no finished run, or one whose numbers are no record's.
    """
    source = folder / "run.json"
    if not source.is_file():
        raise ValueError(f"{folder} holds no run.json; a finished run is accepted: finish it.")
    run = read_record(source, _NEEDED)
    config, made_in = recorded_config(run["config"]), run["environment"]
    # A float network by labels is a teacher by its name alone.
    teaches = folder.resolve().name.endswith("teacher")
    result = {
        "data": config.data.name,
        "network": _network(config.model),
        "method": "teacher" if teaches else _method(config.objective),
        "labels": config.objective.label is not None,
        "bits": _bits(config.quantization),
        "start": "scratch" if run.get("init") is None else "fine-tuned",
        "epochs": [{key: epoch[key] for key in _PER_EPOCH} for epoch in run["epochs"]],
        "validation_accuracy": run["validation_accuracy"],
        "test_accuracy": run["test_accuracy"],
        "seconds": run["seconds"],
        "config": config.settings(),
        "teacher": run.get("teacher"),
        "weights_sha256": run["weights_sha256"],
        "environment": made_in,
    }
    path = to / "runs" / f"{result['data']}-{_slug(result)}-seed{config.run.seed}.json"
    results.save(
        path,
        "run",
        result,
        command=f"faqd-train {'distill' if run.get('teacher') else 'teacher'}, config in result",
        seeds=[config.run.seed],
        inputs={"training images": run["data"]["train_sha256"]},
        origin=(made_in["git_revision"], {name: made_in[name] for name in _VERSIONS}),
    )
    return path


def add_claims(report: Path, name: str, command: str, to: Path = results.FOLDER) -> Path:
    """Turn the report of ``faqd-math verify --json`` into a record; return its path.

    Of each claim's checks it keeps the hardest, and how many there were.
    """
    full = json.loads(report.read_text("utf-8"))
    claims = [
        {**claim, "checks": len(claim["checks"]), "check": _hardest(claim)}
        for claim in full["claims"]
    ]
    result = {**full, "claims": claims}
    path = to / "claims" / f"{name}.json"
    results.save(path, "claims", result, command=command, seeds=[0])
    return path


def _hardest(claim: Mapping[str, Any]) -> Mapping[str, Any]:
    return next(check for check in claim["checks"] if check["subject"] == claim["hardest"])


def _network(model: ModelConfig) -> str:
    return model.factory if isinstance(model, FactoryConfig) else f"ResNet-{model.depth}"


def _bits(quantization: QuantizationConfig) -> str:
    weights, activations = quantization.weight_bits, quantization.activation_bits
    parts = [f"{b}{kind}" for b, kind in ((weights, "W"), (activations, "A")) if b < 32]
    return "".join(parts) or "float"


def _method(objective: ObjectiveConfig) -> str:
    """As the tables call it; FA and FFA come with KD."""
    if objective.fa is not None:
        probes = objective.fa.probes
        return "FA" if probes is None else f"FFA, k = {probes.k}"
    return "KD" if objective.kd is not None else "supervised"


def _slug(result: Mapping[str, Any]) -> str:
    """File name's part that tells runs apart."""
    method = result["method"].lower().replace(", k = ", "")
    labels = (
        ""
        if method in ("supervised", "teacher")
        else "-labelled"
        if result["labels"]
        else "-label-free"
    )
    start = "" if result["start"] == "scratch" else f"-{result['start']}"
    precision = result["config"]["run"]["precision"]
    mixed = "" if precision == "float32" else f"-{precision}"
    return f"{result['bits'].lower()}-{method}{labels}{start}{mixed}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Add what the command line names; print each record's path."""
    parser = argparse.ArgumentParser(prog="python -m analysis.collect", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(required=True)
    runs = commands.add_parser("runs", help="folders of finished runs")
    runs.add_argument("folders", nargs="+", type=Path)
    runs.set_defaults(add=lambda o: [add_run(folder, o.to) for folder in o.folders])
    claims = commands.add_parser("claims", help="a report of faqd-math verify --json")
    claims.add_argument("report", type=Path)
    claims.add_argument("--name", required=True, help="of the record")
    claims.add_argument("--command", required=True, help="that made the report")
    claims.set_defaults(add=lambda o: [add_claims(o.report, o.name, o.command, o.to)])
    for command in (runs, claims):
        command.add_argument("--to", type=Path, default=results.FOLDER, help="folder of records")
    options = parser.parse_args(arguments)
    try:
        for path in options.add(options):
            sys.stdout.write(f"{path}\n")
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
