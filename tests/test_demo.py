"""The demo from end to end, on few epochs."""

import io

import pytest
from matplotlib.image import imread
from rich.cells import cell_len
from rich.console import Console

from analysis.demo import STUDENTS, TEACHER, run_demo
from faqd_math.claims import CLAIMS


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    terminal = io.StringIO()
    overrides = ("optimizer.epochs=1", "data.limit=100")
    code = run_demo(out, Console(file=terminal, width=80), overrides=overrides, replications=500)
    return code, out, terminal.getvalue()


def test_demo_succeeds_and_tells_of_every_run_and_claim(demo):
    code, _, text = demo
    assert code == 0
    for plan in (TEACHER, *STUDENTS):
        assert plan.name in text
    assert f"All {len(CLAIMS)} claims hold on 12 pairs" in text
    assert max(cell_len(line) for line in text.splitlines() if "/" not in line) <= 80


def test_demo_leaves_a_record_a_run_and_three_pictures(demo):
    _, out, text = demo
    assert {path.parent.name for path in out.glob("*/run.json")} == {
        plan.config for plan in (TEACHER, *STUDENTS)
    }
    pictures = sorted(out.glob("*.png"))
    assert [p.name for p in pictures] == [
        "affinity-maps.png",
        "ffa-error.png",
        "training-curves.png",
    ]
    for path in pictures:
        assert str(path) in text.replace("\n", "")
        assert imread(path)[..., :3].std() > 0.05  # not blank
