"""The statements of the theory in words and formulas.

They are read from ``texts/*.toml``; those of a bound take source and assumptions from its
registration in `faqd_math.theory.bounds`.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files

from faqd_math.theory.bounds import BOUNDS


@dataclass(frozen=True)
class Statement:
    """What a claim says.

    Attributes
    ----------
    sentence : str
        The claim in one sentence, which says what the measured and the claimed value are of.
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
    texts = {
        claim_id: fields
        for file in folder.iterdir()
        for claim_id, fields in tomllib.loads(file.read_text(encoding="utf-8")).items()
    }
    for bound in BOUNDS.values():
        texts[bound.id] |= {"source": bound.source, "assumptions": bound.assumptions}
    return {claim_id: Statement(**fields) for claim_id, fields in texts.items()}


STATEMENTS = _load()
