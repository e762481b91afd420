"""The companion: complete, strict, readable without network, and without errors in a browser."""

import fcntl
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from urllib.parse import unquote, urlsplit

import pytest
from browser import PHONE, open_phone, visit

from analysis.companion.pages import GROUPS, claims_page, plain, reproduce_page
from analysis.notebooks.execute import notebooks
from analysis.products.build import FOLDER
from analysis.products.catalogue import PRODUCTS, load_records
from analysis.products.claims import RECORD as CLAIMS_RECORD
from analysis.products.manifest import ROOT, read_manifest
from faqd_math.claims import CLAIMS

# Where the site names an address that a browser loads unasked.
LOADING = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """Collects the tags of a page with their attributes, and its ids."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if "id" in attributes:
            self.ids.add(attributes["id"])

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site in a process of its own, in which warnings are Sphinx's to judge.

    Of two test processes the first builds, and the other waits and reads the same.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    out = folder / "companion"
    with (folder / "companion.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not out.exists():
            command = [sys.executable, "-m", "analysis.companion", "--out", str(out)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}


@pytest.fixture(scope="module")
def phone():
    with open_phone() as context:
        yield context


def record():
    return load_records()[CLAIMS_RECORD]


def broken(pages):
    """Links and images that lead nowhere, read as a browser would on file://."""
    found = []
    for path, page in pages.items():
        for tag, attributes in page.tags:
            address = attributes.get(LOADING.get(tag, "href"))
            if address is None or urlsplit(address).scheme:
                continue
            parts = urlsplit(address)
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            there = target.is_file()
            if there and parts.fragment and target in pages:
                there = unquote(parts.fragment) in pages[target].ids
            if not there:
                found.append(f"{path.name}: {address}")
    return found


def external(page):
    """Addresses elsewhere that a page loads unasked."""
    return [
        attributes[LOADING[tag]]
        for tag, attributes in page.tags
        if tag in LOADING and re.match(r"(https?:)?//", attributes.get(LOADING[tag]) or "")
    ]


def test_every_claim_stands_on_the_page_with_its_formula_and_its_verdict():
    page = claims_page(CLAIMS, record())
    assert f"{len(CLAIMS)} of {len(CLAIMS)} claims hold" in page
    sections = re.split(r"^\(claim-(\w+)\)=$", page, flags=re.MULTILINE)
    texts = dict(zip(sections[1::2], sections[2::2], strict=True))
    assert set(texts) == {claim.id for claim in CLAIMS}
    assert list(GROUPS.values()) == re.findall(r"^## (.*)$", page, flags=re.MULTILINE)
    for claim in CLAIMS:
        text = texts[claim.id]
        assert claim.statement.tex in text
        assert plain(claim.statement.proof) in text
        assert text.count(":::{container} verdict holds\n**holds** in ") == 1


def test_a_claim_that_fails_lacks_a_verdict_or_was_reworded_says_so():
    full = record()
    failing, missing, reworded, *others = full.result["claims"]
    changed = [{**failing, "holds": False}, {**reworded, "statement": "Of old."}, *others]
    page = claims_page(CLAIMS, replace(full, result={**full.result, "claims": changed}))
    assert f"{len(CLAIMS) - 3} of {len(CLAIMS)} claims hold" in page
    seen = {failing["claim"]: "verdict fails\n**FAILS**"}
    seen |= dict.fromkeys((missing["claim"], reworded["claim"]), "verdict not-run\n**not run**")
    for claim_id, text in seen.items():
        assert text in page.partition(f"(claim-{claim_id})=")[2].partition("\n(claim-")[0]


def test_every_product_stands_beside_its_one_command_and_its_records():
    manifest = read_manifest(FOLDER)
    page = reproduce_page(PRODUCTS, manifest, load_records())
    for name in PRODUCTS:
        section = page.partition(f"### {name}\n")[2].partition("\n##")[0]
        assert f"```sh\npython -m analysis.products.build {name}\n```" in section
        for used in manifest["products"][name]["records"]:
            assert f"`{used}`" in section


def test_what_is_said_of_provenance_is_true_of_the_records():
    records = load_records()
    page = reproduce_page(PRODUCTS, read_manifest(FOLDER), records)
    known = sum(record.revision is not None for record in records.values())
    assert f"{known} of {len(records)} records name the revision of the code" in page
    for name, record in records.items():
        (row,) = re.findall(rf"^\| `{re.escape(name)}` \|(.*)$", page, flags=re.MULTILINE)
        assert record.command in row
        assert ("unknown" in row) == (record.revision is None)
        assert row.endswith("+ |") == bool(record.dirty)
    index = (ROOT / "analysis" / "companion" / "index.md").read_text("utf-8")
    assert "name the command, seeds and versions behind them and, where the code lay in a" in index
    assert all(record.command and record.version and record.versions for record in records.values())


def test_a_missing_record_is_named():
    manifest = read_manifest(FOLDER)
    manifest["products"]["quantizers"] |= {"records": {}, "missing": ["studies/quantizers"]}
    page = reproduce_page(PRODUCTS, manifest, load_records())
    assert "Made from no record; not run: `studies/quantizers`." in page


@pytest.mark.parametrize(
    ("text", "leads_nowhere", "elsewhere"),
    [
        ('<a href="other.html">', ["page.html: other.html"], []),
        ('<a href="#there"><img src="gone.png">', ["page.html: #there", "page.html: gone.png"], []),
        ('<p id="here"><a href="page.html#here"><a href="https://doi.org/1">', [], []),
        ('<script src="https://a.invalid/b.js">', [], ["https://a.invalid/b.js"]),
        ('<link rel="stylesheet" href="//a.invalid/b.css">', [], ["//a.invalid/b.css"]),
    ],
)
def test_links_that_lead_nowhere_or_load_from_elsewhere_are_seen(
    tmp_path, text, leads_nowhere, elsewhere
):
    path = tmp_path / "page.html"
    path.write_text(text, "utf-8")
    assert external(Page(text)) == elsewhere
    assert [link for link in broken({path: Page(text)}) if "//" not in link] == leads_nowhere


def test_the_site_is_whole(site, pages):
    names = {path.relative_to(site).as_posix() for path in pages}
    notebook_pages = {f"notebooks/{path.stem}.html" for path in notebooks()}
    own = {"index.html", "mathematics.html", "claims.html", "experiments.html", "reproduce.html"}
    assert own | notebook_pages <= names
    assert broken(pages) == []
    claims = pages[site / "claims.html"]
    assert {f"claim-{claim.id}".lower() for claim in CLAIMS} <= claims.ids
    boxes = [box for box in claims.all("div") if "verdict" in box.get("class", "").split()]
    assert len(boxes) == len(CLAIMS)


@pytest.mark.parametrize("name", ["mathematics.html", "notebooks/audit.html"])
def test_each_statement_in_a_table_leads_to_its_claim(site, pages, name):
    links = {link.get("href", "").rpartition("/")[2] for link in pages[site / name].all("a")}
    stated = [claim.id for claim in CLAIMS if claim.id != "LAW"]  # said in words, not in a table
    assert {f"claims.html#claim-{claim_id.lower()}" for claim_id in stated} <= links


def test_headings_go_down_one_level_at_a_time(pages):
    for path, page in pages.items():
        if path.name == "search.html":  # filled by its script
            continue
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
        assert levels.count(1) == 1, path.name
        assert all(below <= above + 1 for above, below in pairwise([0, *levels])), path.name


def test_every_figure_is_shown_twice_with_its_alternative_text(pages):
    texts = [attributes.get("alt") for page in pages.values() for attributes in page.all("img")]
    assert sorted(texts, key=str) == sorted(
        2 * [product.text for product in PRODUCTS.values() if product.is_figure]
    )


def test_nothing_is_loaded_from_elsewhere(site, pages):
    assert {str(path): external(page) for path, page in pages.items() if external(page)} == {}
    for style in site.rglob("*.css"):
        text = style.read_text("utf-8")
        assert not re.search(r"@import|url\(\s*['\"]?(https?:)?//", text), style.name


def test_a_browser_without_network_shows_each_page_on_a_phone(pages, phone):
    seen = {path.name: visit(phone, path) for path in pages}
    for name, page in seen.items():
        assert page["complaints"] == [], name
        assert page["blank"] == [], name
        assert page["errors"] == 0, name
        assert page["drawn"] == page["formulas"], name
        assert page["width"] <= PHONE["width"], name
    assert seen["claims.html"]["drawn"] == len(CLAIMS)


def test_a_browser_sees_what_is_wrong(tmp_path, phone):
    path = tmp_path / "page.html"
    path.write_text(
        '<p style="width: 900px">wide</p><img src="gone.png"><script>console.error("odd")</script>'
        '<script src="https://faqd.invalid/away.js"></script>',
        "utf-8",
    )
    page = visit(phone, path)
    assert {"odd", "https://faqd.invalid/away.js"} <= set(page["complaints"])
    assert [address.rpartition("/")[2] for address in page["blank"]] == ["gone.png"]
    assert page["width"] >= 900
