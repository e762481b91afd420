"""``faqd-math explain``: each claim can be read in a terminal."""

import pytest
from rich.cells import cell_len

from faqd_math import cli
from faqd_math.claims import CLAIMS
from faqd_math.claims.statements import STATEMENTS


def explain(capsys, *ids):
    assert cli.main(["explain", *ids]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("claim_id", [claim.id for claim in CLAIMS])
def test_all_that_is_said_of_a_claim_is_printed_within_80_columns(claim_id, capsys):
    output = explain(capsys, claim_id)
    assert output.startswith(f"{claim_id}. ")
    assert max(cell_len(line) for line in output.splitlines()) <= 80
    # A formula without spaces may be broken where a line ends.
    printed = "".join(output.split())
    for field, text in vars(STATEMENTS[claim_id]).items():
        assert "".join(text.split()) in printed, field


def test_an_explanation_comes_in_the_order_of_a_paper(capsys):
    lines = explain(capsys, "P8").splitlines()
    titles = ["Formula (TeX)", "Assumptions", "Proof sketch", "Source", "Checked by"]
    assert [line for line in lines if line in titles] == titles
    assert lines[-1].strip() == "replication, on each pair of feature maps"


def test_ids_are_read_in_either_case(capsys):
    assert explain(capsys, "p8") == explain(capsys, "P8")


def test_without_an_id_all_claims_are_listed(capsys):
    lines = [line.split(maxsplit=1) for line in explain(capsys).splitlines()]
    assert lines == [[claim.id, claim.statement.sentence] for claim in CLAIMS]


def test_an_unknown_id_is_refused_in_one_sentence(capsys):
    assert cli.main(["explain", "P99"]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("faqd-math: claim 'P99' is unknown; an id as I1 is accepted")
    assert complaint.count("\n") == 1
