"""`faqd-math check`: right implementations pass, as-released ones fail where they are wrong."""

import re
import sys
from functools import partial

import numpy as np
import pytest
import released_like
import right_losses as right
from rich.cells import cell_len

import faqd_math as fm
import faqd_train
from faqd_math import cli
from faqd_math.conformance import (
    Conventions,
    Implementation,
    check,
    counterexample,
    suite,
)
from faqd_math.conformance.randomness import preserved_global_generators
from faqd_math.conformance.torch_adapter import TorchAdapter

# Searches this short find every error planted here; the command's default is 100.
FEW = {"examples": 10, "replications": 400}

ffa = partial(Conventions, kind="ffa")
RIGHT = {
    "reference": (fm.fa_loss, Conventions()),
    "reference, float32": (fm.fa_loss, Conventions(dtype="float32")),
    "order 1": (fm.fa_loss, Conventions(order=1, keywords={"order": 1})),
    "torch": (faqd_train.fa_loss, Conventions(torch=True)),
    "torch, float32": (faqd_train.fa_loss, Conventions(torch=True, dtype="float32")),
    "torch, order 1": (
        faqd_train.fa_loss,
        Conventions(torch=True, order=1, maps="sum", keywords={"order": 1, "reduction": "sum"}),
    ),
    "FFA": (fm.ffa_loss, ffa(probes="argument")),
    "FFA, torch": (faqd_train.ffa_loss, ffa(torch=True, probes="argument")),
    "FFA, torch, drawing": (
        faqd_train.ffa_loss,
        ffa(torch=True, probes="inside", generator="generator"),
    ),
    "einsum": (right.by_einsum, Conventions()),
    "loops": (right.by_loops, Conventions(maps="single")),
    "Gram": (right.by_gram, Conventions(maps="none")),
    "eigenvalues": (right.by_eigenvalues, Conventions(maps="sum")),
    "singular values": (right.by_singular_values, Conventions()),
    "QR, the root": (right.by_qr, Conventions(maps="single", root=True)),
    "chunks, over N": (right.by_chunks, Conventions(maps="none", divisor="N")),
    "distances": (right.by_distances, Conventions()),
    "a plain sum of order 1": (right.order_one, Conventions(order=1, maps="sum", divisor="1")),
    "autograd": (right.by_autograd, Conventions(torch=True)),
    "autograd, float32": (right.by_autograd, Conventions(torch=True, dtype="float32")),
    "FFA by the gap": (right.ffa_by_gap, ffa(probes="argument")),
    "FFA by autograd": (right.ffa_by_autograd, ffa(torch=True, probes="argument")),
    "FFA, Rademacher": (right.ffa_drawing, ffa(probes="inside", generator="rng")),
    "FFA, drawing, float32": (
        right.ffa_drawing_torch,
        ffa(torch=True, probes="inside", generator="generator", dtype="float32"),
    ),
    "FFA, its own generator": (right.ffa_of_its_own, ffa(probes="inside")),
}


def failing(findings):
    return {finding.checked.id for finding in findings if not finding.holds}


@pytest.mark.parametrize(("function", "conventions"), RIGHT.values(), ids=RIGHT)
def test_right_implementations_pass(function, conventions):
    found = check(function, conventions, examples=4, replications=300)
    assert [(f.checked.id, f.message) for f in found if not f.holds] == []


@pytest.mark.slow
@pytest.mark.parametrize(("function", "conventions"), RIGHT.values(), ids=RIGHT)
def test_right_implementations_pass_at_length(function, conventions):
    if function is not right.by_loops:
        assert failing(check(function, conventions, examples=100, seed=1)) == set()


EPSILON = {"DEF", "R4", "EPS", "SIZE", "I2", "I3-metric"}
AUTOGRAD = {"I8", "R4-grad"}
AS_RELEASED = {
    "FA, order 1": ("fa_loss", Conventions(order=1, torch=True), EPSILON | AUTOGRAD | {"R6"}),
    "FA, order 2": (
        "fa_loss",
        Conventions(torch=True, keywords={"order": 2}),
        EPSILON | AUTOGRAD | {"R6"},
    ),
    "FA, order 2, declared a root of a sum": (
        "fa_loss",
        Conventions(torch=True, root=True, maps="sum", keywords={"order": 2}),
        EPSILON | AUTOGRAD,
    ),
    "FFA, order 1": (
        "fast_fa_loss",
        ffa(torch=True, order=1, probes="inside"),
        {"R1", "R2", "R3", "R4", "R6", "R4-grad"},
    ),
    "FFA, order 2": (
        "fast_fa_loss",
        ffa(torch=True, probes="inside", keywords={"order": 2}),
        {"P1", "R2", "R3", "R4", "R6", "P8", "R4-grad"},
    ),
    "FFA, order 2, declared a root of a sum": (
        "fast_fa_loss",
        ffa(torch=True, probes="inside", root=True, maps="sum", keywords={"order": 2}),
        {"P1", "R2", "R3", "R4", "P8", "R4-grad"},
    ),
    "FFA in NumPy, order 1": (
        "numpy_fast_fa_loss",
        ffa(order=1, probes="inside"),
        {"R1", "R2", "R3", "R4", "R6", "SIZE"},  # written for maps of one size
    ),
}


@pytest.mark.parametrize(
    ("name", "conventions", "wrong"),
    [
        pytest.param(*case, id=name, marks=[pytest.mark.slow] if "order 2" in name else [])
        for name, case in AS_RELEASED.items()
    ],
)
def test_as_released_code_fails_where_it_is_wrong_and_its_counterexamples_run(
    name, conventions, wrong
):
    found = check(getattr(released_like, name), conventions, **FEW)
    assert failing(found) == wrong
    for finding in found:
        if not finding.holds:
            script = counterexample(finding, f"released_like:{name}")
            with (
                preserved_global_generators(TorchAdapter()),
                pytest.raises(AssertionError) as caught,
            ):
                exec(script, {})
            comment = re.sub(r"\n?# ", " ", script[script.index("\n# ") :])
            assert " ".join(str(caught.value).split()) in " ".join(comment.split())


def test_the_released_baseline_fails_where_it_is_wrong():
    """FFA with given probes; the other forms are those of the released code above."""
    for maps, wrong in (("sum", {"R1", "R4"}), ("mean", {"R1", "R4", "R6"})):
        conventions = ffa(probes="argument", order=1, maps=maps)
        assert failing(check(fm.released.ffa_loss, conventions, **FEW)) == wrong


def test_a_counterexample_is_small():
    """One dead pixel of one channel shows R4."""
    conventions = ffa(torch=True, order=1, probes="inside")
    found = check(released_like.fast_fa_loss, conventions, **FEW)
    case = next(finding.case for finding in found if finding.checked.id == "R4")
    assert {name: maps.shape for name, maps in case.items()} == dict.fromkeys(case, (1, 1, 1))


def test_ffa_of_order_one_fails_r1_unless_that_is_left_out():
    conventions = ffa(order=1, probes="argument", keywords={"order": 1})
    assert failing(check(fm.ffa_loss, conventions, **FEW)) == {"R1"}
    assert failing(check(fm.ffa_loss, conventions, skip=["R1"], **FEW)) == set()


def test_the_same_check_gives_the_same_report_and_exit_code_1(capsys):
    reports = []
    arguments = ["check", "released_like:fa_loss", "--torch", "--order", "1", "--examples", "5"]
    for _ in range(2):
        assert cli.main(arguments) == 1
        reports.append(capsys.readouterr().out)
    assert reports[0] == reports[1]
    assert "properties of released_like:fa_loss fail:\nDEF, R4, EPS" in reports[0]
    table = reports[0][: reports[0].index("import numpy")]
    assert max(cell_len(line) for line in table.splitlines()) <= 80


def test_the_command_passes_its_options_on_and_exits_with_0(capsys):
    fast = ["--examples", "3", "--replications", "200"]
    options = "--torch --dtype float32 --probes inside --generator generator --k 5 --set k=5"
    assert cli.main(["check", "faqd_train:ffa_loss", *options.split(), *fast]) == 0
    said = capsys.readouterr().out
    assert "All 12 properties of faqd_train:ffa_loss hold." in said
    assert "a bias of 27.6% of FA is found nine times in ten." in said
    assert max(cell_len(line) for line in said.splitlines()) <= 80
    options = "--root --single --divide-by N2 --skip I2 --skip DEF"
    assert cli.main(["check", "right_losses:by_qr", *options.split(), *fast]) == 0
    assert "All 8 properties" in capsys.readouterr().out


@pytest.mark.parametrize("option", [{}, {"kind": "ffa", "probes": "inside"}])
def test_sentences_fit_the_table(option):
    for conventions in (Conventions(torch=True, **option), Conventions(order=1, **option)):
        for listed in suite(conventions):
            assert cell_len(listed.sentence) <= 54, listed.id


def takes_one(student):
    return student


def returns_a_map(student, teacher):
    return student - teacher


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("fa_loss", "the implementation is 'fa_loss'; MODULE:FUNCTION is accepted"),
        ("nowhere:fa_loss", "module 'nowhere' cannot be imported .*; one that Python finds"),
        ("faqd_math:loss", "module 'faqd_math' has no 'loss'; a function at its top level"),
        ("faqd_math:__version__", "the implementation is a str; a function is accepted"),
        ("test_check:takes_one", r"takes \(student\), which \(student, teacher\) does not fit"),
        ("faqd_math:fa_loss --set speed=1", r"\(student, teacher, speed=…\) does not fit"),
        ("faqd_math:fa_loss --set speed", "--set 'speed' was given; NAME=VALUE is accepted"),
        ("faqd_math:fa_loss --torch", "on generic maps of shape .* the call raised TypeError: st"),
        ("test_check:returns_a_map", r"the call returned shape .*; \(\) is accepted of maps 'me"),
        ("faqd_math:fa_loss --order 1 --root", "root is given with order 1; order 2 is accepted"),
        ("faqd_math:fa_loss --kind ffa", "kind is 'ffa' with probes None; probes 'argument' or"),
        ("faqd_math:ffa_loss --rng rng", "generator is 'rng' with probes None; a generator is"),
        ("faqd_math:fa_loss --skip R9", "skip is 'R9'; accepted are 'DEF', 'R4'"),
        ("faqd_math:fa_loss --examples 0", "examples is 0; an integer of at least 1"),
        ("faqd_math:fa_loss --replications 9", "replications is 9; an integer of at least 100"),
        ("faqd_math:fa_loss --seed -1", "seed is -1; an integer of at least 0"),
        ("faqd_math:fa_loss --k 0", "k is 0; an integer of at least 1"),
    ],
)
def test_bad_requests_exit_with_2_and_one_sentence(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert cli.main(["check", *arguments.split()]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("faqd-math: ")
    assert complaint.count("\n") == 1
    assert re.search(message, complaint)


def test_unknown_conventions_are_refused():
    with pytest.raises(ValueError, match="maps is 'median'; accepted are 'mean', 'sum'"):
        Conventions(maps="median")
    with pytest.raises(AssertionError, match="NumPy arrays, which carry no gradient"):
        Implementation(fm.fa_loss, Conventions()).gradient(*np.ones((2, 1, 1, 2)))


def test_a_module_that_fails_while_it_is_imported_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "broken_losses.py").write_text("1 / 0\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["check", "broken_losses:fa"]) == 2
    assert "cannot be imported (division by zero)" in capsys.readouterr().err


def test_a_loss_that_raises_now_and_then_fails_with_what_it_raised():
    def of_large_maps(student, teacher):
        if student.shape[-1] == 1:
            raise RuntimeError("width 1 is not supported")
        return fm.fa_loss(student, teacher)

    found = {f.checked.id: f for f in check(of_large_maps, Conventions(), **FEW)}
    said = "the call raised RuntimeError: width 1 is not supported"
    assert found["DEF"].message == said
    assert found["DEF"].case["student"].shape == (1, 1, 1)
