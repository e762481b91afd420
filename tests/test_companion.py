"""The companion: complete, strict, readable without network, and without errors in a browser."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest

from analysis import results
from analysis.build import FOLDER, PRODUCTS
from analysis.companion.pages import GROUPS, claims_page, plain, reproduce_page
from analysis.notebook_runs import notebooks
from analysis.provenance import ROOT, read_manifest
from analysis.tables.theory import CLAIMS as CLAIMS_RECORD
from faqd_math.claims import CLAIMS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PHONE = {"width": 375, "height": 700}
# Where the site names an address that a browser loads unasked.
LOADING = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}
COUNTED = """() => ({
    formulas: document.querySelectorAll('.math').length,
    drawn: document.querySelectorAll('.math mjx-container svg').length,
    errors: document.querySelectorAll('[data-mml-node="merror"]').length,
    width: document.documentElement.scrollWidth,
    blank: [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src),
})"""


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
    """The site, built in a process of its own: warnings there are Sphinx's to judge."""
    out = tmp_path_factory.mktemp("companion")
    command = [sys.executable, "-m", "analysis.companion", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}


def record():
    return results.load(results.FOLDER / f"{CLAIMS_RECORD}.json")


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


def test_a_failing_claim_and_one_without_a_verdict_say_so():
    full = record()
    failing, missing, *others = full.result["claims"]
    shown = replace(
        full, result={**full.result, "claims": [{**failing, "holds": False}, *others]}
    )
    page = claims_page(CLAIMS, shown)
    assert f"{len(CLAIMS) - 2} of {len(CLAIMS)} claims hold" in page
    for verdict, text in ((failing, "verdict fails\n**FAILS**"), (missing, "not-run\n**not run**")):
        section = page.partition(f"(claim-{verdict['claim']})=")[2].partition("\n(claim-")[0]
        assert text in section


def test_every_product_stands_beside_its_one_command_and_its_records():
    manifest = read_manifest(FOLDER)
    page = reproduce_page(PRODUCTS, manifest, results.load_all())
    for name in PRODUCTS:
        section = page.partition(f"### {name}\n")[2].partition("\n##")[0]
        assert f"```sh\npython -m analysis.build {name}\n```" in section
        for used in manifest["products"][name]["records"]:
            assert f"`{used}`" in section


def test_a_missing_record_is_named():
    manifest = read_manifest(FOLDER)
    manifest["products"]["quantizers"] |= {"records": {}, "missing": ["studies/quantizers"]}
    page = reproduce_page(PRODUCTS, manifest, results.load_all())
    assert "Made from no record; not run: `studies/quantizers`." in page


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ('<a href="other.html">', ["page.html: other.html"]),
        ('<a href="#there">', ["page.html: #there"]),
        ('<img src="gone.png">', ["page.html: gone.png"]),
        ('<p id="here"><a href="#here"><a href="page.html#here"><a href="https://doi.org/1">', []),
    ],
)
def test_broken_links_are_seen(tmp_path, text, seen):
    path = tmp_path / "page.html"
    path.write_text(text, "utf-8")
    assert broken({path: Page(text)}) == seen


@pytest.mark.slow
def test_the_site_is_whole(site, pages):
    names = {path.relative_to(site).as_posix() for path in pages}
    notebook_pages = {f"notebooks/{path.stem}.html" for path in notebooks()}
    own = {"index.html", "mathematics.html", "claims.html", "experiments.html", "reproduce.html"}
    assert own | notebook_pages <= names
    assert broken(pages) == []
    claims = pages[site / "claims.html"]
    assert {f"claim-{claim.id}".lower() for claim in CLAIMS} <= claims.ids


@pytest.mark.slow
def test_every_figure_is_shown_twice_with_its_alternative_text(site, pages):
    pictures = [product for product in PRODUCTS.values() if f"{product.name}.png" in _drawn()]
    shown = [
        attributes
        for path, page in pages.items()
        for attributes in page.all("img")
        if path.name not in ("search.html", "genindex.html")
    ]
    assert all(attributes.get("alt") for attributes in shown)
    texts = sorted(attributes["alt"] for attributes in shown)
    assert texts == sorted(2 * [picture.text for picture in pictures])


def _drawn():
    return {path.name for path in FOLDER.glob("*.png")}


@pytest.mark.slow
def test_nothing_is_loaded_from_elsewhere(site, pages):
    assert {str(path): external(page) for path, page in pages.items() if external(page)} == {}
    for style in site.rglob("*.css"):
        text = style.read_text("utf-8")
        assert not re.search(r"@import|url\(\s*['\"]?(https?:)?//", text), style.name


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_browser_without_network_shows_each_page_on_a_phone(pages):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(viewport=PHONE, offline=True)
        seen = {str(path): _visit(context, path) for path in pages}
        browser.close()
    for path, page in seen.items():
        assert page["complaints"] == [], path
        assert page["blank"] == [], path
        assert page["errors"] == 0, path
        assert page["drawn"] == page["formulas"], path
        assert page["width"] <= PHONE["width"], path
    claims = next(page for path, page in seen.items() if path.endswith("claims.html"))
    assert claims["drawn"] == len(CLAIMS)


def _visit(context, path):
    """Open a page as a file; count what it shows and collect what goes wrong."""
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_load_state("networkidle")
    if page.query_selector(".math"):
        page.wait_for_function("() => window.MathJax.startup.promise.then(() => true)")
    counted = page.evaluate(COUNTED)
    page.close()
    return {**counted, "complaints": complaints}
