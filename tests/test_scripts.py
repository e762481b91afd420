"""Sub- and superscripts of plain text are found where they are meant."""

import re

import pytest

from faqd_math.claims import CLAIMS
from faqd_math.reports.scripts import split_scripts


@pytest.mark.parametrize(
    ("text", "scripts"),
    [
        ("x_ix_iᵀ", ["_i", "_i"]),
        ("S_student − S_teacher", ["_student", "_teacher"]),
        ("‖A‖_F²/N²", ["_F"]),
        ("γ_{r(N)}N", ["_r(N)"]),
        ("cos^{2k}(π/(2k))/cos^k(π/k)", ["^2k", "^k"]),
        ("abs(a)^(1/k)", ["^1/k"]),
        ("kd·L_KD", ["_KD"]),
        ("nothing {here} (at all)", []),
    ],
)
def test_scripts_are_found(text, scripts):
    signs = {"sub": "_", "sup": "^"}
    found = [signs[kind] + piece for kind, piece in split_scripts(text) if kind != "line"]
    assert found == scripts


def test_no_text_is_lost_and_no_sign_is_left_in_any_claim():
    for claim in CLAIMS:
        said = claim.statement
        for text in (said.sentence, said.assumptions, said.proof, said.source):
            joined = "".join(piece for _, piece in split_scripts(text))
            assert not re.search("[_^]", joined), claim.id
            brackets = str.maketrans("", "", "_^{}()")
            assert joined.translate(brackets) == text.translate(brackets)
