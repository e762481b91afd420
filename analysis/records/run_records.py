"""Finished runs as records: what was run, what came out, and the command that runs it again."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.records.identity import describe_run, file_name, flatten, present_settings
from analysis.records.provenance import Origin
from analysis.records.store import Made, Record, seal
from faqd_train.config.files import load_config, packaged_configs
from faqd_train.runs.record import read_record

_PER_EPOCH = ("epoch", "loss", "terms", "validation_accuracy", "lr")
_ABSENT = object()
_NEEDED = ("config", "data", "environment", "epochs", "test_accuracy", "validation_accuracy")


def read_run(folder: Path) -> dict[str, Any]:
    """Read what a finished run's folder says of it.

    Raises
    ------
    ValueError
        If the folder holds no finished run, or its run.json lacks something.
    """
    source = folder / "run.json"
    if not source.is_file():
        raise ValueError(f"{folder} holds no run.json; a finished run is accepted: finish it.")
    return read_record(source, _NEEDED)


def run_record(run: Mapping[str, Any]) -> Record:
    """Make the record of what run.json holds (see `read_run`)."""
    config, made_in = present_settings(run["config"]), run["environment"]
    run = {**run, "config": config}
    teacher, init = run.get("teacher"), run.get("init")
    result = {
        **describe_run(run),
        "epochs": [{key: epoch[key] for key in _PER_EPOCH} for epoch in run["epochs"]],
        "validation_accuracy": run["validation_accuracy"],
        "test_accuracy": run["test_accuracy"],
        "seconds": run["seconds"],
        "config": _without_start(config),
        "teacher": teacher,
        "init": init,
        "weights_sha256": run["weights_sha256"],
        "environment": made_in,
    }
    sources = {"teacher's weights": teacher, "initial weights": init}
    probes = [v for key, v in flatten(config["objective"]).items() if key.rpartition(".")[2] == "k"]
    made = Made(
        command=training_command(run),
        seeds=[config["run"]["seed"]],
        k=[k for k in probes if k],
        inputs={"training images": run["data"]["train_sha256"]}
        | {name: source["weights_sha256"] for name, source in sources.items() if source},
        origin=Origin(
            made_in["faqd"],
            made_in["git_revision"],
            made_in.get("git_dirty"),
            {name: made_in[name] for name in ("python", "numpy", "torch")},
        ),
    )
    return seal("run", result, made)


def training_command(run: Mapping[str, Any]) -> str:
    """Write the command that trains a run again, from the packaged configuration nearest to it.

    Folders are named by what they must hold: ``runs/teacher-HASH`` and ``runs/start-HASH`` the runs
    whose weights have these hashes.
    """
    words = min(_ways_to_say(run), key=len)
    if start := run.get("init"):
        words.append(f"model.init=runs/start-{start['weights_sha256'][:10]}")
    words += ["--out", f"runs/{file_name(run).removesuffix('.json')}"]
    if teacher := run.get("teacher"):
        words += ["--teacher", f"runs/teacher-{teacher['weights_sha256'][:10]}"]
    return shlex.join(["faqd-train", "distill", *words])


def _ways_to_say(run: Mapping[str, Any]) -> Iterator[list[str]]:
    """Write the settings as changes of each packaged configuration, with parts and without."""
    wanted, words = flatten(_without_start(run["config"])), describe_run(run)
    method = re.sub(r", k = (\d+).*", r"\1", words["method"]).lower()
    parts = [f"bits={words['bits'].lower()}", f"method={method}"]
    if method != "supervised":
        parts.append(f"labels={'labelled' if words['labels'] else 'label-free'}")
    for name in packaged_configs():
        for taken in (parts, []):
            try:
                base = _load(name, taken)
                changed = {k: v for k, v in wanted.items() if base.get(k, _ABSENT) != v}
                settings = [*taken, *(f"{key}={_toml(value)}" for key, value in changed.items())]
                if _load(name, settings) == wanted:
                    yield [name, *settings]
            except ValueError:  # a part that is not packaged, a value that has no word in TOML
                continue
    yield [f"{words['data']}.toml", *(f"{key}={_toml(value)}" for key, value in wanted.items())]


def _load(name: str, settings: Sequence[str]) -> dict[str, Any]:
    return flatten(_without_start(load_config(name, settings).settings()))


def _toml(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)


def _without_start(config: Mapping[str, Any]) -> dict[str, Any]:
    """Drop the folder of the start, which is named by its weights."""
    return {**config, "model": {k: v for k, v in config["model"].items() if k != "init"}}
