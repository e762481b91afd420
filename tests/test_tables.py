"""Tables: means and spreads of hand-made runs, three forms of one content, published figures."""

import csv
from io import StringIO

import pytest

from analysis import results
from analysis.results import Record
from analysis.tables import accuracy, rendering, theory


def run(test_accuracy, *, seed=0, epochs=2, precision="float32", **changes):
    """Make a run's record that only the accuracy table reads."""
    cell = {"data": "cifar10", "start": "scratch", "bits": "4W4A", "method": "FA", "labels": False}
    result = cell | changes | {"epochs": [{}] * epochs, "test_accuracy": test_accuracy}
    result["config"] = {"run": {"precision": precision}}
    return Record("run", "", [seed], None, {}, {}, result, "")


FLOAT = {"bits": "float", "method": "supervised", "labels": True}
RUNS = {
    "runs/a": run(0.80),
    "runs/b": run(0.84, seed=1),
    "runs/short": run(0.1, seed=2, epochs=1),
    "runs/float": run(0.9, epochs=3, **FLOAT),
}


def cell_of(records, **wanted):
    wanted = {"data": "cifar10", "start": "scratch", "bits": "4W4A", "method": "FA"} | wanted
    (row,) = (r for r in accuracy.rows(records) if all(r[k] == v for k, v in wanted.items()))
    return row


def test_accuracy_is_mean_and_deviation_over_the_seeds_of_the_longest_runs():
    row = cell_of(RUNS, labels="no")
    assert row["test_accuracy_mean"] == pytest.approx(0.82)
    assert row["test_accuracy_sd"] == pytest.approx(0.02 * 2**0.5)  # n − 1 in the denominator
    assert (row["n"], row["epochs"]) == (2, 2)
    assert (row["float_mean"], row["float_n"]) == (0.9, 1)


def test_mixed_precision_counts_where_no_float32_run_is_as_long():
    mixed = {"runs/a-bfloat16": run(0.5, precision="bfloat16")}
    assert cell_of(RUNS | mixed, labels="no")["n"] == 2
    longer = {"runs/a-bfloat16": run(0.5, precision="bfloat16", epochs=3)}
    assert cell_of(RUNS | longer, labels="no")["test_accuracy_mean"] == 0.5


def test_cells_without_a_run_say_so():
    row = cell_of(RUNS, labels="yes")
    assert (row["test_accuracy_mean"], row["n"]) == ("not run", 0)
    counts = [r["n"] for r in accuracy.rows({})]
    assert set(counts) == {0}
    assert len(counts) == 4 * 2 * 6 * 10  # data, starts, bits, methods


def test_the_wide_form_shows_the_same_cells():
    (row,) = (
        r
        for r in accuracy.shown(RUNS)
        if (r["data"], r["start"], r["bits"]) == ("cifar10", "scratch", "4W4A")
    )
    assert row["FA"] == "82.0 ± 2.8 (2)"
    assert row["float"] == "90.0 (1)"
    assert row["epochs"] == "2, 3"
    assert row["FA + labels"] == row["KD"] == "not run"


def test_published_figures_stand_beside_with_their_source(tmp_path, monkeypatch):
    lines = "data,bits,method,labels,start,accuracy,source,table\n"
    lines += "cifar10,4W4A,FA,no,scratch,91.2,Somebody 2020,3\n"
    (tmp_path / "published.csv").write_text(lines)
    monkeypatch.setattr(accuracy, "PUBLISHED", tmp_path / "published.csv")
    row = cell_of(RUNS, labels="no")
    assert (row["published"], row["source"], row["table"]) == ("91.2", "Somebody 2020", "3")
    assert any(r["FA"] == "82.0 ± 2.8 (2) [91.2]" for r in accuracy.shown(RUNS))


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
    assert list(csv.reader(StringIO(rendering.to_csv(ROWS)))) == [
        ["name", "x", "n"],
        ["a|b & c_d", "0.333333", "2"],
        ["ε ≤ 50 %", "", "0"],
    ]
    assert rendering.to_markdown(ROWS, "Said.").splitlines() == [
        "Said.",
        "",
        "| name | x | n |",
        "| --- | --- | --- |",
        r"| a\|b & c_d | 0.3333 | 2 |",
        "| ε ≤ 50 % |  | 0 |",
    ]
    latex = rendering.to_latex(ROWS, "Said.", label="toy")
    assert r"a|b \& c\_d & 0.3333 & 2 \\" in latex
    assert r"$\varepsilon$ $\le$ 50 \% &  & 0 \\" in latex
    for rule in ("toprule", "midrule", "bottomrule"):
        assert latex.count(rf"\{rule}") == 1


def test_latex_of_the_committed_tables_is_plain_ascii_with_equal_columns():
    from analysis.build import FOLDER, TABLES

    for table in TABLES:
        latex = (FOLDER / f"{table.name}.tex").read_text("utf-8")
        assert latex.isascii(), table.name
        body = [line for line in latex.splitlines() if line.endswith(r"\\")]
        columns = {line.replace(r"\&", "").count("&") for line in body}
        assert len(columns) == 1, table.name


@pytest.fixture(scope="module")
def records():
    return results.load_all()


def test_the_audit_tells_of_each_defect(records):
    assert [row["claim"] for row in theory.audit(records)] == [f"R{i}" for i in range(1, 9)]


def test_no_bound_asks_for_fewer_probes_than_the_exact_law(records):
    rows = theory.probes_needed(records)
    assert len(rows) == 12
    for row in rows:
        bounds = [k for name, k in row.items() if name.startswith("B")]
        assert len(bounds) == 9
        assert min(bounds) > row["exact law"]


def test_costs_are_those_of_the_formulas(records):
    (row,) = (
        r
        for r in theory.cost(records)
        if (r["channels"], r["pixels"], r["path"]) == (16, 1024, "gram")
    )
    assert row["multiply-adds"] == 3 * 1024 * 16**2
