"""The report as a web page: complete, self-contained, the same each time, and honest."""

import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from browser import PHONE, open_phone, visit

from faqd_math import claims
from faqd_math.claims import CLAIMS, Evidence, Report, Verdict
from faqd_math.claims.standard_cases import standard_pairs, standard_weights
from faqd_math.claims.statements import STATEMENTS
from faqd_math.reports.figures import bound_tightness, formula, p_values
from faqd_math.reports.page import report_page
from faqd_math.reports.provenance import Provenance
from faqd_math.reports.scripts import split_scripts

VOID = {"meta", "br", "img"}


def small_subjects():
    """One pair of maps, and so one panel of tails: figures take their time."""
    rng = np.random.default_rng(0)
    pairs = standard_pairs(rng, channels=3, side=3, batch=1)
    return claims.verification_subjects(
        {"random": pairs["random"]}, standard_weights(rng), samples=1
    )


def verdict(claim, *, holds=True):
    """Made-up evidence on two subjects, of which the second is the harder one."""
    p_value = (0.4 if holds else 1e-12) if claim.method == "replication" else None
    easy = Evidence(0.5, 1.0, "<=", 0.1, p_value=p_value and 0.9, detectable=p_value and 0.125)
    hard = replace(easy, measured=0.875 if holds else 1.5, p_value=p_value)
    return Verdict(claim, ("maps[0]", "other <maps>[0]"), (easy, hard), (False, not holds))


def made_up_report(chosen=CLAIMS, failing=()):
    verdicts = tuple(verdict(claim, holds=claim.id not in failing) for claim in chosen)
    checks = 2 * sum(claim.method == "replication" for claim in chosen)
    return Report(verdicts, 1e-3, checks)


@pytest.fixture(scope="module")
def page():
    return report_page(made_up_report(), small_subjects())


class Reader(HTMLParser):
    """Collects tags with their attributes, rows of the table, and fails on unbalanced tags."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.rows, self.text = [], [], [], ""
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def test_every_claim_has_its_row_and_its_explanation(page):
    reader = Reader(page)
    assert [row[0] for row in reader.rows[1:]] == [claim.id for claim in CLAIMS]
    assert [d["id"] for d in reader.all("dl")] == [claim.id for claim in CLAIMS]
    assert {len(row) for row in reader.rows} == {11}
    shown = "".join(reader.text.split())
    for claim in CLAIMS:
        said = claim.statement
        for text in (said.sentence, said.assumptions, said.proof, said.source):
            plain = "".join(piece for _, piece in split_scripts(text))
            assert "".join(plain.split()) in shown
        assert "".join(said.tex.split()) in shown
    assert "S<sub>ij</sub>" in page


def test_a_row_holds_the_numbers_of_the_hardest_subject(page):
    rows = {row[0]: [row[1], *row[3:]] for row in Reader(page).rows}
    assert "other &lt;maps&gt;[0]" in page
    margin = f"{0.1 + 0.125:.2g}"
    numbers = ["0.875", "≤ 1", "0.1", margin, "0.88"]
    assert rows["P1"] == ["holds", "replication", *numbers, "0.4", "0.12"]
    assert rows["B1"] == ["holds", "exact law", *numbers, "", ""]


def test_the_page_loads_nothing(page):
    reader = Reader(page)
    assert not {"script", "link", "iframe", "object", "video"} & {tag for tag, _ in reader.tags}
    for _, attributes in reader.tags:
        assert attributes.get("href", "#").startswith("#")
        assert attributes.get("src", "data:image/svg+xml;base64,").startswith("data:image/svg+xml")
    assert not re.search(r"https?:|@import|url\(", page)
    for image in reader.all("img"):
        drawing = b64decode(image["src"].partition(",")[2])
        for element in ElementTree.fromstring(drawing).iter():
            links = [value for name, value in element.attrib.items() if name.endswith("href")]
            assert all(link.startswith("#") for link in links)


def test_links_lead_to_claims_and_pictures_say_what_they_show(page):
    reader = Reader(page)
    ids = {attributes["id"] for _, attributes in reader.tags if "id" in attributes}
    assert {link["href"] for link in reader.all("a")} == {f"#{claim_id}" for claim_id in ids}
    images = reader.all("img")
    assert all(image["alt"].strip() for image in images)
    assert sum(image["class"] == "plot" for image in images) == 3
    assert any(m.get("name") == "viewport" for m in reader.all("meta"))


def test_the_page_says_what_it_was_made_with(page):
    made = Provenance("faqd-math verify <a>", [0], 15, 2000, 4, "0a1b", "1.2", "c" * 40, True)
    report = made_up_report(CLAIMS[:1])
    said = "verify <a>, version 1.2, revision cccccccccc with changes, on feature maps"
    assert said in Reader(report_page(report, [], made)).text
    installed = replace(made, revision=None, dirty=None, features_sha256=None)
    assert "version 1.2.\n" in Reader(report_page(report, [], installed)).text
    assert "Made by" not in page


def test_failing_claims_are_shown_as_failing(page):
    chosen = [claim for claim in CLAIMS if claim.id in ("I1", "P1", "P2", "B6")]
    failing = report_page(made_up_report(chosen, failing=("P2", "B6")), [])
    verdicts = {row[0]: row[1] for row in Reader(failing).rows[1:]}
    assert verdicts == {"I1": "holds", "P1": "holds", "P2": "FAILS", "B6": "FAILS"}
    assert "2 of 4 claims fail on 2 pairs of feature maps: P2, B6." in failing
    assert "FAILS" not in page
    assert f"All {len(CLAIMS)} claims hold on 2 pairs of feature maps." in page


def test_the_page_of_one_seed_is_equal_to_the_byte():
    chosen = [claim for claim in CLAIMS if claim.id in ("I1", "P1", "B1", "B10")]

    def page(seed):
        subjects = small_subjects()
        rng = np.random.default_rng(seed)
        return report_page(
            claims.verify(chosen, subjects, rng=rng, replications=100, k=5), subjects
        )

    assert page(0) == page(0)
    assert page(0) != page(1)


def test_figures_without_content_are_left_out():
    (identity,) = (claim for claim in CLAIMS if claim.id == "I4")
    evidence = Evidence(1.0, 1.0, "=", 0.1)
    report = Report((Verdict(identity, ("a[0]",), (evidence,), (False,)),), 1e-3, 0)
    assert not [i for i in Reader(report_page(report, [])).all("img") if i["class"] == "plot"]


def test_figures_show_a_broken_bound_and_a_p_value_of_zero():
    (claim,) = (claim for claim in CLAIMS if claim.id == "B10")
    evidence = Evidence(3.0, 1.0, "<=", 0.1, p_value=0.0, detectable=0.2)
    report = Report((Verdict(claim, ("a[0]",), (evidence,), (True,)),), 1e-3, 1)
    assert bound_tightness(report) == {"B10": {"a[0]": 3.0}}
    assert b"nan" not in p_values(report)


def test_a_formula_that_cannot_be_drawn_stands_as_tex(monkeypatch):
    with pytest.raises(ValueError, match="Unknown symbol"):
        formula(r"\unheardof{x}")
    (claim,) = (claim for claim in CLAIMS if claim.id == "I4")
    said = replace(claim.statement, tex=r"a < \unheardof{x}")
    monkeypatch.setitem(STATEMENTS, "I4", said)
    page = report_page(Report((verdict(claim),), 1e-3, 0), [])
    assert page.count(r"<code>a &lt; \unheardof{x}</code>") == 1
    assert '<img class="formula"' not in page


def test_tex_that_mathtext_words_otherwise_is_drawn_as_it_is_meant():
    meant = formula(r"\mathrm{Var} T \leq (c), \left(d\right) \geq e")
    assert formula(r"\operatorname{Var} T \le \Bigl(c\Bigr), \left(d\right) \ge e") == meant


def test_a_phone_scrolls_tables_not_the_page_and_links_open_their_claim(page, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(page, "utf-8")
    with open_phone() as context:
        seen = visit(context, path)
        shown = context.new_page()
        shown.goto(path.as_uri())
        shown.click("a[href='#B9']")
        opened = shown.locator("details[open] dl").all()
        assert [part.get_attribute("id") for part in opened] == ["B9"]
    assert seen["complaints"] == []
    assert seen["blank"] == []
    assert seen["width"] <= PHONE["width"]
