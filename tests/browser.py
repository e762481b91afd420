"""A browser of a phone's size without network, and what it sees of a page."""

import shutil
from contextlib import contextmanager

import pytest

PHONE = {"width": 390, "height": 844}
COUNTED = """() => ({
    formulas: document.querySelectorAll('.math').length,
    drawn: document.querySelectorAll('.math mjx-container > svg').length,
    errors: document.querySelectorAll('[data-mml-node="merror"]').length,
    width: document.documentElement.scrollWidth,
    blank: [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src),
})"""


@contextmanager
def open_phone():
    """Start Chromium; skip the test where there is none."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium is installed")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser.new_context(viewport=PHONE, offline=True)
        browser.close()


def visit(context, path):
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
