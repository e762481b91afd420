"""The gap's effective rank, and FA, through a training that captured maps after some epochs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

import faqd_math as fm
from analysis.studies.inputs import Pairs
from faqd_math.claims.feature_files import load_feature_pairs

_QUANTILES = (0.25, 0.5, 0.75)
_CAPTURED = re.compile(r"features_(before|after|epoch\d+)\.npz")


def ranks(run: Path, about: str) -> dict[str, Any]:
    """Measure each captured epoch's maps: quartiles over the samples.

    Parameters
    ----------
    run : Path
        Folder of a run with ``run.capture`` and ``run.capture_epochs``.
    about : str
        What was run.

    Raises
    ------
    ValueError
        If it captured nothing.
    """
    files = captured(run)
    measured = {epoch: _measure(load_feature_pairs(path)) for epoch, path in sorted(files.items())}
    if not measured:
        raise ValueError(f"{run} holds no captured maps; set run.capture and run.capture_epochs.")
    first = next(iter(measured.values()))
    pairs = load_feature_pairs(next(iter(files.values())))
    return {
        "about": about,
        "samples": len(next(iter(pairs.values()))[0]),
        "epochs": list(measured),
        "taps": {
            tap: {name: [measured[e][tap][name] for e in measured] for name in first[tap]}
            for tap in first
        },
    }


def captured(run: Path) -> dict[int, Path]:
    """Find a run's files of maps, by epochs done; those after the last one of a finished run."""
    record = run / "run.json"
    last = len(json.loads(record.read_text("utf-8"))["epochs"]) if record.is_file() else None
    moments = {p: match[1] for p in run.iterdir() if (match := _CAPTURED.fullmatch(p.name))}
    ends = {"before": 0, "after": last}
    files = {ends[m] if m in ends else int(m[5:]): path for path, m in moments.items()}
    return {epoch: path for epoch, path in files.items() if epoch is not None}


def _measure(pairs: Pairs) -> dict[str, dict[str, list[float]]]:
    """Quartiles of ρ and FA over the samples, by tap."""
    answer = {}
    for tap, (students, teachers) in pairs.items():
        samples = list(zip(students, teachers, strict=True))
        of = {
            "effective_rank": [fm.effective_rank(fm.gap_spectrum(*sample)) for sample in samples],
            "fa": [fm.fa_loss(*sample) for sample in samples],
        }
        answer[tap] = {name: np.quantile(v, _QUANTILES).tolist() for name, v in of.items()}
    return answer
