"""The statements of the theory in words and formulas, read from ``texts/*.toml``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class Statement:
    """What a claim says.

    Attributes
    ----------
    sentence : str
        The claim in one sentence, beside which measured and claimed value make sense.
    tex : str
        Its formula, in TeX.
    assumptions : str
        What must hold for it.
    source : str
        Where it comes from.
    proof : str
        A sketch of the proof.
    """

    sentence: str
    tex: str
    assumptions: str
    source: str
    proof: str


def _load() -> dict[str, Statement]:
    folder = files("faqd_math.claims").joinpath("texts")
    return {
        claim_id: Statement(**fields)
        for file in folder.iterdir()
        for claim_id, fields in tomllib.loads(file.read_text(encoding="utf-8")).items()
    }


STATEMENTS = _load()
