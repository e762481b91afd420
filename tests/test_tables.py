"""Tables: means and spreads of hand-made runs, three forms of one content, published figures."""

import csv
from io import StringIO

import pytest
from finished_runs import FLOAT, TEACHER, finished_run

from analysis.products import accuracy, claims
from analysis.products.build import FOLDER
from analysis.products.catalogue import PRODUCTS, load_records
from analysis.records.run_records import run_record
from analysis.rendering import tables
from analysis.studies import cost, probe_errors

SETTINGS = ("method=fa", "labels=label-free", "optimizer.epochs=2")


def record(test, *settings, name="cifar10"):
    return run_record(finished_run(*SETTINGS, *settings, name=name, test=test, teacher=TEACHER))


RUNS = {
    "runs/a": record(0.80),
    "runs/b": record(0.84, "run.seed=1"),
    "runs/mixed": record(0.1, "run.precision=bfloat16"),
    "runs/float": record(0.9, "data.labels=true", *FLOAT, "optimizer.epochs=3"),
    "runs/unlabelled": record(None, name="digits"),
}


def test_accuracy_is_mean_and_deviation_over_the_seeds_of_equal_settings():
    rows = {(r["data"], r["bits"], r["other"]): r for r in accuracy.rows(RUNS)}
    equal, mixed = (rows["cifar10", "4W4A", precision] for precision in ("", "bfloat16"))
    assert len(rows) == 4
    assert equal["test_accuracy_mean"] == pytest.approx(0.82)
    assert equal["test_accuracy_sd"] == pytest.approx(0.02 * 2**0.5)  # n − 1 in the denominator
    assert (equal["n"], equal["epochs"]) == (2, 2)
    assert (mixed["test_accuracy_mean"], mixed["n"]) == (0.1, 1)
    assert (rows["cifar10", "float", ""]["test_accuracy_mean"]) == 0.9
    assert rows["digits", "4W4A", ""]["test_accuracy_mean"] is None


def test_the_readable_form_shows_what_was_run_and_one_line_says_what_was_not():
    shown = {(r["data"], r["bits"], r["other"]): r["test accuracy"] for r in accuracy.shown(RUNS)}
    assert shown == {
        ("cifar10", "float", ""): "90.0 (1)",
        ("cifar10", "4W4A", ""): "82.0 ± 2.8 (2)",
        ("cifar10", "4W4A", "bfloat16"): "10.0 (1)",
        ("digits", "4W4A", ""): "unknown",
    }
    # 3 data sets, 2 starts, 6 bit widths, 10 methods; 1 of them was run
    assert accuracy.not_run(RUNS) == (
        "Not run: 359 of the 360 combinations of the paper's data sets, starts, bit widths and "
        "methods; among them all of cifar100 and tiny-imagenet."
    )


def test_published_figures_stand_beside_with_their_source(tmp_path, monkeypatch):
    lines = "data,bits,method,labels,start,accuracy,source,table\n"
    lines += "cifar10,4W4A,FA,no,scratch,91.2,Somebody 2020,3\n"
    (tmp_path / "published.csv").write_text(lines)
    monkeypatch.setattr(accuracy, "PUBLISHED", tmp_path / "published.csv")
    rows = [r for r in accuracy.rows(RUNS) if r["published"]]
    assert {(r["published"], r["source"], r["table"]) for r in rows} == {
        ("91.2", "Somebody 2020", "3")
    }
    assert "82.0 ± 2.8 (2) [91.2]" in [r["test accuracy"] for r in accuracy.shown(RUNS)]


def test_the_columns_of_published_figures_are_those_of_the_table():
    with accuracy.PUBLISHED.open(encoding="utf-8") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames == [
            "data", "bits", "method", "labels", "start", "accuracy", "source", "table",
        ]  # fmt: skip
        for row in reader:
            assert (row["method"], row["labels"] == "yes") in accuracy.METHODS
            assert row["source"]
            assert row["table"]


ROWS = [{"name": "a|b & c_d", "x": 1 / 3, "n": 2}, {"name": "ε ≤ 50 %", "x": None, "n": 0}]


def test_three_forms_hold_the_same_cells():
    assert list(csv.reader(StringIO(tables.to_csv(ROWS)))) == [
        ["name", "x", "n"],
        ["a|b & c_d", "0.333333", "2"],
        ["ε ≤ 50 %", "", "0"],
    ]
    assert tables.to_markdown(ROWS, "Said.", "Below.").splitlines() == [
        "Said.",
        "",
        "| name | x | n |",
        "| --- | --- | --- |",
        r"| a\|b & c_d | 0.3333 | 2 |",
        "| ε ≤ 50 % |  | 0 |",
        "",
        "Below.",
    ]
    latex = tables.to_latex(ROWS, "Said.", label="toy", note="Below 1 %.")
    assert r"a|b \& c\_d & 0.3333 & 2 \\" in latex
    assert r"$\varepsilon$ $\le$ 50 \% &  & 0 \\" in latex
    assert r"Below 1 \%." in latex
    for rule in ("toprule", "midrule", "bottomrule"):
        assert latex.count(rf"\{rule}") == 1


def test_latex_of_the_committed_tables_is_plain_ascii_with_equal_columns():
    for name in (name for name, product in PRODUCTS.items() if not product.is_figure):
        latex = (FOLDER / f"{name}.tex").read_text("utf-8")
        assert latex.isascii(), name
        body = [line for line in latex.splitlines() if line.endswith(r"\\")]
        columns = {line.replace(r"\&", "").count("&") for line in body}
        assert len(columns) == 1, name


@pytest.fixture(scope="module")
def records():
    return load_records()


def test_the_audit_tells_of_each_defect(records):
    assert [row["claim"] for row in claims.audit(records[claims.RECORD].result)] == [
        f"R{i}" for i in range(1, 9)
    ]


def test_no_bound_asks_for_fewer_probes_than_the_exact_law(records):
    rows = probe_errors.needed_rows(records["studies/probe-errors"].result)
    assert len(rows) == 12
    for row in rows:
        bounds = [k for name, k in row.items() if name.startswith("B")]
        assert len(bounds) == 9
        assert min(bounds) > row["exact law"]


def test_costs_are_those_of_the_formulas(records):
    (row,) = (
        r
        for r in cost.cost_rows(records["studies/cost"].result)
        if (r["channels"], r["pixels"], r["path"]) == (16, 1024, "gram")
    )
    assert row["multiply-adds"] == 3 * 1024 * 16**2
