"""`faqd-math plan`: its advice, its page and file, and bad requests."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from faqd_math import cli, cost
from faqd_math.claims import Case, Sampling
from faqd_math.claims.standard_cases import standard_pairs
from faqd_math.claims.tails import bound_claim
from faqd_math.reports.figures import tails
from faqd_math.reports.plan import advice, plan_record
from faqd_math.theory import bounds
from faqd_math.theory.planning import MapSizes, plan, plan_features, worst

#: A plan by whether its gap is known.
PLANS = {True: plan(np.ones(9)), False: plan()}

shapes = st.builds(MapSizes, st.integers(1, 4096), st.integers(1, 300), st.integers(1, 300))


def run(*arguments):
    return cli.main(["plan", *map(str, arguments)])


@pytest.fixture
def features(tmp_path):
    pairs = standard_pairs(np.random.default_rng(0))
    path = tmp_path / "maps.npz"
    np.savez(
        path,
        **{f"student.{name}": maps[0] for name, maps in pairs.items()},
        **{f"teacher.{name}": maps[1] for name, maps in pairs.items()},
    )
    return path


def saved_pairs(path):
    with np.load(path) as arrays:
        names = [key.partition(".")[2] for key in arrays if key.startswith("student.")]
        return {n: (arrays[f"student.{n}"], arrays[f"teacher.{n}"]) for n in names}


def test_known_costs(tmp_path, capsys):
    """The two examples of §4: 33.6M, 0.98M, 0.79M; 1259M, 12M, 38.5M."""
    expected = {
        "16,32,32": (["33.6M", "786k", "983k"], (33554432, 786432, 983040)),
        "64,56,56": (["1.26G", "38.5M", "12M"], (1258815488, 38535168, 12042240)),
    }
    for shape, (printed, exact) in expected.items():
        assert run("--shape", shape, "--json", tmp_path / "plan.json") == 0
        page = capsys.readouterr().out.partition("multiply-adds of a sample")[2]
        assert [line.split()[-1] for line in page.splitlines()[1:4]] == printed
        record = json.loads((tmp_path / "plan.json").read_text())["plans"]["any gap"]
        assert tuple(record["cost"]["multiply_adds"].values()) == exact


@given(shape=shapes, k=st.integers(1, 200), known=st.booleans())
def test_advice_names_the_cheapest_exact_path_whenever_it_costs_no_more_than_ffa(shape, k, known):
    base = PLANS[known]
    n, both = shape.n, shape.student_channels + shape.teacher_channels
    gram = n * (both**2 - shape.student_channels * shape.teacher_channels)
    exact, ffa = min(gram, n * n * both), 2 * n * k * both
    said = advice(replace(base, k=k, shape=shape))
    name = "Exact Gram" if gram <= n * n * both else "Direct FA, which is exact,"
    assert said.startswith(f"{name} costs ") == (exact <= ffa), said
    assert said.startswith("FFA with ") == (exact > ffa), said
    if exact > ffa:
        # Taking as many probes as ε asks for is advised only where that is cheaper.
        affordable = 2 * n * base.sufficient_probes * both < exact
        asks_more = base.sufficient_probes > k
        assert ("keep to" in said) == (asks_more and affordable), said
        assert ("costs no more than" in said) == (asks_more and not affordable), said


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (
            plan(np.ones(9), shape=MapSizes(16, 512, 512)),
            "Direct FA, which is exact, costs less than FFA here "
            "(262k against 492k multiply-adds): use it.",
        ),
        (
            plan(np.ones(9), shape=MapSizes(1024, 20, 20)),
            "Exact Gram costs as much as FFA here (1.23M against 1.23M multiply-adds): use it.",
        ),
        (
            plan(np.ones(50), shape=MapSizes(3136, 256, 256), k=20),
            "FFA with 20 probes costs 9.6 times less than exact Gram and errs by at most 10 % in "
            "95 % of draws: use it for the value.",
        ),
        (
            plan(np.ones(9), shape=MapSizes(3136, 256, 256)),
            "FFA with 15 probes costs 12.8 times less than exact Gram but errs by up to 24 % in "
            "95 % of draws; 86 keep to 10 % and cost 2.23 times less.",
        ),
        (
            plan(shape=MapSizes(3136, 64, 64)),
            "FFA with 15 probes costs 3.2 times less than exact Gram but errs by up to 69 % in "
            "95 % of draws at rank 1; for 10 % on any gap use exact Gram, which costs no more "
            "than 1,481 probes.",
        ),
        (
            replace(
                plan(np.ones(9), shape=MapSizes(64, 64, 64), delta=0.5, epsilon=0.2),
                gradient_noise=1.25,
            ),
            "FFA with 15 probes costs 2.13 times less than direct FA and errs by at most 20 % in "
            "50 % of draws: use it for the value. In training its gradient errs by 125 % (rms), "
            "direct FA's not.",
        ),
        (
            plan(np.ones(7), epsilon=0.3),
            "13 probes keep within 30 % in 95 % of draws; exact Gram costs no more up to 17 "
            "channels on each side.",
        ),
        (
            plan(epsilon=0.3, delta=0.01),
            "250 probes keep within 30 % in 99 % of draws on any gap, where one of rank 1 needs "
            "150; exact Gram costs no more up to 333 channels on each side.",
        ),
    ],
)
def test_advice_reads(made, expected):
    assert advice(made) == expected


@given(k=st.integers(1, 10**6))
def test_the_width_up_to_which_gram_costs_no_more_is_exact(k):
    made = replace(PLANS[True], sufficient_probes=k)
    width = int(re.search(r"up to ([\d,]+) channels", advice(made))[1].replace(",", ""))
    for channels in (c for c in (width, width + 1) if c):
        shape = MapSizes(10**9, channels, channels)
        cheaper = cost.multiply_adds("gram", *shape) <= cost.multiply_adds("ffa", *shape, k)
        assert cheaper == (channels == width)


def test_a_planted_cost_turns_the_advice(monkeypatch):
    """FFA without its factor of 2 looks cheaper than Gram at 16 channels."""
    made = plan(shape=MapSizes(1024, 16, 16))
    assert advice(made).startswith("Exact Gram")
    right = cost.multiply_adds
    monkeypatch.setattr(
        cost,
        "multiply_adds",
        lambda path, *sizes, **k: right(path, *sizes, **k) // (1 + (path == "ffa")),
    )
    assert advice(made).startswith("FFA")


def test_the_command_plans_each_pair_of_a_feature_file(features, tmp_path, capsys):
    assert run("--features", features, "--samples", 2, "--json", tmp_path / "plan.json") == 0
    page = capsys.readouterr().out
    record = json.loads((tmp_path / "plan.json").read_text())
    pairs = saved_pairs(features)
    assert list(record["plans"]) == list(pairs)
    for name, (student, teacher) in pairs.items():
        made = worst([plan_features(student[i], teacher[i]) for i in (0, 1)])
        assert record["plans"][name] == plan_record({name: made})["plans"][name]
        assert f"{name}: {advice(made)}" in " ".join(page.split())
    assert "each figure is that of the worst" in page


@pytest.fixture
def new_bound():
    @bounds.register("B99", "twice Chebyshev", source="derived", epsilon_at_most=0.5)
    def twice_chebyshev(spectrum, k, epsilon):
        side = bounds.chebyshev(spectrum, k, epsilon)
        return bounds.Sides(side, side)

    yield bounds.BOUNDS["B99"]
    bounds.BOUNDS.pop("B99", None)


def test_a_registered_bound_is_planned_for_drawn_and_checked(new_bound, tmp_path, capsys):
    assert run("--epsilon", 0.3, "--json", tmp_path / "plan.json") == 0
    assert re.search(r"B99 twice Chebyshev +889\b", capsys.readouterr().out)
    record = json.loads((tmp_path / "plan.json").read_text())["plans"]["any gap"]
    assert record["bound_probes"]["B99"] == 889  # 4/(kε²) ≤ 0.05
    assert run("--epsilon", 0.6) == 0
    assert re.search(r"B99 twice Chebyshev +–", capsys.readouterr().out)
    with pytest.raises(ValueError, match="the bound B99 is registered already"):
        bounds.register("B99", "another", source="derived")(lambda *_: None)
    case = Case("random[0]", *np.random.default_rng(0).standard_normal((2, 3, 4, 4)))
    sampling = Sampling((0,), replications=100, false_alarm=1e-3, k=5)
    assert bound_claim(new_bound).check(case, sampling).tightness < 0.5
    drawn = tails([case])
    del bounds.BOUNDS["B99"]
    assert tails([case]) != drawn


def test_a_spectrum_comes_from_text_an_array_or_the_command_line(tmp_path):
    (tmp_path / "a.txt").write_text("3, -1\n0.5\n")
    np.save(tmp_path / "a.npy", np.array([3.0, -1.0, 0.5]))
    texts = []
    for given_as in (
        ["--spectrum", tmp_path / "a.txt"],
        ["--spectrum", tmp_path / "a.npy"],
        ["--eigenvalues=3,-1,0.5"],
    ):
        out = tmp_path / "plan.json"
        assert run(*given_as, "--json", out) == 0
        texts.append(out.read_text())
    assert texts == [texts[0]] * 3
    expected = plan_record({"spectrum": plan(np.array([3.0, -1.0, 0.5]))})
    assert json.loads(texts[0]) == expected


def test_the_page_fits_80_columns(features, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    long_names = tmp_path / "long.npz"
    maps = np.random.default_rng(0).standard_normal((2, 1, 3, 4, 4))
    names = ["layer3.blocks.11.conv2", "backbone." * 8 + "conv", "stem"]
    np.savez(
        long_names,
        **{
            f"{side}.{name}": maps[i]
            for i, side in enumerate(("student", "teacher"))
            for name in names
        },
    )
    for arguments in (
        ["--features", features],
        ["--features", long_names],
        ["--epsilon", "0.001", "--delta", "1e-9", "--k", 10**9, "--shape", "2048,999,999"],
        ["--eigenvalues=3,-1"],
        [],
    ):
        assert run(*arguments) == 0
        lines = capsys.readouterr().out.splitlines()
        # Rich wraps a line that is too long, and cuts a label that is: neither may happen.
        assert max(map(cell_len, lines)) <= 80
        assert not any("…" in line for line in lines)


BAD_ARGUMENTS = {
    "epsilon is 0.0; a finite number above": ["--epsilon", 0],
    "epsilon is nan; a finite number above": ["--epsilon", "nan"],
    "epsilon is 1e\\+200; a finite number above": ["--epsilon", "1e200"],
    "delta is 0.0; a finite number above 0 and below 1": ["--delta", 0],
    "delta is 1.0; a finite number above 0 and below 1": ["--delta", 1],
    "k is 0; an integer of at least 1": ["--k", 0],
    "delta is 0.05, which even [0-9]+ probes do not reach": ["--epsilon", "1e-9"],
    "epsilon and delta are so small": ["--epsilon", "3.5e-8"],
    "spectrum holds no eigenvalue other than 0": ["--eigenvalues=0,0"],
    "spectrum holds 1 entries that are NaN": ["--eigenvalues=1,nan"],
    "--eigenvalues holds 'x', which is not a number": ["--eigenvalues=1,x"],
    "none.npz is not a file": ["--features", "none.npz"],
    "none.txt is not a file": ["--spectrum", "none.txt"],
    "--spectrum and --eigenvalues are given": ["--spectrum", "a", "--eigenvalues", "1"],
    "--features and --spectrum are given": ["--features", "a", "--spectrum", "b"],
    "--shape is of no use here": ["--features", "a", "--shape", "1,2,3"],
    "--teacher-channels is of no use here": ["--teacher-channels", 3],
    "--samples is of no use here": ["--samples", 3],
    "--shape is '16,32'; C,H,W in positive": ["--shape", "16,32"],
    "--shape is '16,0,3'; C,H,W in positive": ["--shape", "16,0,3"],
    "--shape is '1,-2,3'; C,H,W in positive": ["--shape", "1,-2,3"],
    "--teacher-channels is 0; an integer": ["--shape", "1,2,3", "--teacher-channels", 0],
}


@pytest.mark.parametrize("message", BAD_ARGUMENTS)
def test_bad_requests_are_refused_in_one_sentence(message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*BAD_ARGUMENTS[message]) == 2
    said = capsys.readouterr()
    assert re.match(f"faqd-math: {message}", said.err)
    assert said.err.count("\n") == 1
    assert said.out == ""


BAD_FILES = {
    "empty.txt": (b"", "spectrum holds no eigenvalue other than 0"),
    "words.txt": (b"3 four", "holds 'four', which is not a number"),
    "binary.txt": (b"\xff\xfe\x00", "cannot be read"),
    "text.npy": (b"3 4", "cannot be read"),
    "nothing.npy": (b"", "cannot be read"),
    "integers.npy": (np.array([1, 2]), "spectrum has dtype int64"),
    "matrix.npy": (np.eye(2), r"spectrum has shape \(2, 2\)"),
    "objects.npy": (np.array([None]), "cannot be read"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_spectrum_files_are_refused_in_one_sentence(name, capsys, tmp_path):
    content, message = BAD_FILES[name]
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        np.save(tmp_path / name, content, allow_pickle=True)
    assert run("--spectrum", tmp_path / name) == 2
    said = capsys.readouterr().err
    assert re.search(message, said)
    assert said.count("\n") == 1
