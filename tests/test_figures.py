"""Figures and tables: rebuilt to the byte, never older than what they show, legible."""

import shutil
from dataclasses import replace
from importlib.metadata import version
from itertools import pairwise

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

from analysis.products import build, manifest
from analysis.products.catalogue import PRODUCTS, load_records
from analysis.products.training_curves import draw_groups
from analysis.rendering.figures import WIDTH, style
from analysis.rendering.product import make

mpl.use("Agg")

COMMITTED = build.FOLDER
FIGURES = {name: product for name, product in PRODUCTS.items() if product.is_figure}


@pytest.fixture(scope="module")
def records():
    return load_records()


def users(record):
    """Products that need a record, by their own declaration."""
    return {name for name, product in PRODUCTS.items() if product.choose({record: None})}


def made_of():
    return manifest.read_manifest(COMMITTED)["products"]


def test_no_committed_product_is_older_than_what_it_is_made_from(records):
    assert build.stale(COMMITTED, records) == []


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_rebuilt_product_is_the_committed_one(records, name):
    made_with = manifest.read_manifest(COMMITTED)["matplotlib"]
    for suffix, content in make(PRODUCTS[name], records).items():
        if suffix in ("pdf", "png") and version("matplotlib") != made_with:
            pytest.skip(f"pictures were drawn by Matplotlib {made_with}")
        assert content == (COMMITTED / f"{name}.{suffix}").read_bytes(), suffix


def test_the_folder_holds_nothing_but_products():
    files = {file for p in made_of().values() for file in p["files"]}
    assert {path.name for path in COMMITTED.iterdir()} == files | {"README.md", "manifest.json"}


@pytest.fixture
def copied(tmp_path):
    return shutil.copytree(COMMITTED, tmp_path / "figures")


@pytest.mark.parametrize("record", ["studies/cost", "studies/probe-errors", "claims/standard"])
def test_another_record_makes_exactly_its_users_stale(records, record):
    other = {**records, record: replace(records[record], sha256="0" * 64)}
    expected = sorted(f"{name}: older than its records" for name in users(record))
    assert expected
    assert sorted(build.stale(COMMITTED, other)) == expected


def test_other_code_makes_a_figure_stale(records, copied):
    products = made_of()
    products["quantizers"]["code"] = "0" * 64
    manifest.write_manifest(copied, products)
    assert build.stale(copied, records) == ["quantizers: older than its code"]


def test_the_code_of_a_figure_reaches_what_it_imports():
    files = made_of()["order-one-against-order-two"]["code_files"]
    assert {
        "analysis/studies/orders.py",
        "analysis/rendering/figures.py",
        "analysis/rendering/faqd.mplstyle",
        "analysis/records/store.py",
    } <= set(files)
    assert "analysis/studies/quantizers.py" not in files


def test_a_file_that_was_changed_or_lost_is_named(records, copied):
    (copied / "cost.csv").write_text("1")
    (copied / "quantizers.png").unlink()
    assert sorted(build.stale(copied, records)) == [
        "cost: cost.csv is not the file that was made",
        "quantizers: quantizers.png is not the file that was made",
    ]


def test_without_a_record_exactly_its_users_say_so(records):
    for lost in (name for name in records if name.startswith(("studies/", "claims/"))):
        left = {name: record for name, record in records.items() if name != lost}
        lacking = {name for name, product in PRODUCTS.items() if not product.choose(left)}
        assert lacking == users(lost)
        for name in lacking:
            text = make(PRODUCTS[name], left)["csv"].decode()
            assert "not run" in text
            assert lost in text


def test_without_one_run_its_seed_is_gone_from_figure_and_table(records):
    lost = next(
        name for name in records if "digits-preactresnet8-4w4a-fa-" in name and "seed1" in name
    )
    left = {name: record for name, record in records.items() if name != lost}
    for product in (PRODUCTS["accuracy"], PRODUCTS["training-curves-digits"]):
        texts = [make(product, r)["csv"].decode() for r in (records, left)]
        assert texts[0] != texts[1]
    assert lost.removeprefix("runs/") in make(product, records)["csv"].decode()
    assert lost.removeprefix("runs/") not in make(product, left)["csv"].decode()


def test_without_any_record_all_products_are_still_built(tmp_path):
    sentences = build.build(tmp_path, {}, ["quantizers", "accuracy", "audit"])
    assert sentences == [
        "quantizers: not run, no record studies/quantizers",
        "accuracy: not run, no record runs/*",
        "audit: not run, no record claims/standard",
    ]
    assert (tmp_path / "quantizers.pdf").read_bytes().startswith(b"%PDF")


def test_unknown_products_are_refused(capsys):
    with pytest.raises(SystemExit):
        build.main(["nonsense"])
    assert "unknown: nonsense; known: error-against-probes" in capsys.readouterr().err


def long_and_short_runs(_):
    """Trainings of 200 and 8 epochs, one of them of images without labels."""

    def epochs(count, accuracy):
        return {
            "epochs": [
                {"epoch": e, "terms": {"fa": 1 / e}, "validation_accuracy": accuracy}
                for e in range(1, count + 1)
            ]
        }

    names = ["float supervised, teacher", *(f"4W4A FFA, k = {k}, fine-tuned" for k in (1, 5, 15))]
    groups = [(name, [epochs(200, 0.9 + 0.01 * i)]) for i, name in enumerate(names)]
    return draw_groups([*groups, ("4W4A KD", [epochs(8, None)])], "CIFAR-10")


DRAWN = {name: product.draw for name, product in FIGURES.items()}
DRAWN["long and short runs"] = long_and_short_runs


@pytest.fixture(scope="module", params=DRAWN)
def drawn(request, records):
    product = PRODUCTS.get(request.param)
    with style():
        figure = DRAWN[request.param](product.given(records) if product else records)
        figure.draw_without_rendering()
        yield figure
    plt.close(figure)


def test_every_label_is_whole_and_tick_labels_do_not_meet(drawn):
    edge = drawn.bbox.padded(1)
    rows_of_ticks = [shown_ticks(a) for axes in drawn.axes for a in (axes.xaxis, axes.yaxis)]
    for text in [*other_texts(drawn), *(label for labels in rows_of_ticks for label in labels)]:
        box = text.get_window_extent()
        assert edge.x0 <= box.x0, text
        assert box.x1 <= edge.x1, text
        assert edge.y0 <= box.y0, text
        assert box.y1 <= edge.y1, text
    for labels in rows_of_ticks:
        boxes = [label.get_window_extent() for label in labels]
        for first, second in pairwise(boxes):
            assert not first.overlaps(second), labels


def shown_ticks(axis):
    """Labels of an axis's ticks within its view, in order."""
    low, high = sorted(axis.get_view_interval())
    ticks = [t for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
    labels = [t.label1 for t in sorted(ticks, key=lambda t: t.get_loc())]
    return [label for label in labels if axis.axes.axison and is_shown(label)]


def other_texts(figure):
    texts = [figure._suptitle, *figure.texts]
    for axes in figure.axes:
        if axes.axison:
            texts += [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    texts += [text for legend in legends if legend for text in legend.get_texts()]
    return [text for text in texts if is_shown(text)]


def is_shown(text):
    return text.get_visible() and text.get_text().strip()


def test_a_figure_is_a_column_wide_and_says_what_is_seen(drawn):
    assert drawn.get_figwidth() == WIDTH
    assert drawn.get_suptitle()


@pytest.mark.parametrize("name", FIGURES)
def test_fonts_are_embedded_no_date_is_told_and_there_is_an_alternative_text(name):
    content = (COMMITTED / f"{name}.pdf").read_bytes()
    assert b"/FontFile2" in content
    assert b"/Type3" not in content
    assert b"CreationDate" not in content
    assert len(FIGURES[name].text) > 40
    assert FIGURES[name].text.endswith(".")
