"""The registry: its claims hold on the standard maps, and each of them can fail."""

import json

import numpy as np
import pytest
from rich.cells import cell_len

import faqd_math as fm
from faqd_math import claims, cli, moments, order_one
from faqd_math.claims import estimates, identities, tails
from faqd_math.claims.evidence import Case, Evidence
from faqd_math.feature_files import load_feature_pairs
from faqd_math.standard_cases import standard_pairs

FALSE_ALARM = 1e-6


@pytest.fixture(scope="module")
def cases():
    return claims.cases_from_pairs(standard_pairs(np.random.default_rng(0), side=6), samples=1)


def check(claim_id, cases, seed=1):
    claim = next(c for c in claims.CLAIMS if c.id == claim_id)
    sampling = claims.Sampling(
        rng=np.random.default_rng(seed),
        replications=2000,
        false_alarm=FALSE_ALARM / len(cases),
        k=15,
    )
    return [claim.check(case, sampling) for case in cases]


@pytest.mark.parametrize("claim_id", [claim.id for claim in claims.CLAIMS])
def test_every_claim_holds_on_the_standard_maps(claim_id, cases):
    """At a false-alarm rate of 1e-6 a claim."""
    for case, evidence in zip(cases, check(claim_id, cases), strict=True):
        assert evidence.holds, (case.name, evidence)


def scaled(function, factor):
    return lambda *args, **kwargs: factor * function(*args, **kwargs)


def stale_probes(n, k, *, rng, law="gaussian", batch=None):
    return np.broadcast_to(fm.sample_probes(n, k, law=law, rng=rng), (batch or 1, n, k))


SLIGHTLY = 1 + 1e-9


def epsilon_in_the_norm(student, teacher, **options):
    padded = np.concatenate([student, np.full((1, *student.shape[1:]), 1e-3)])
    return fm.fa_loss(padded, teacher, **options)


#: Places in the code and a wrong function there, one or more a claim.
PLANTED = [
    ("I1", identities, "affinity", scaled(fm.affinity, SLIGHTLY)),
    ("I2", identities, "fa_loss", epsilon_in_the_norm),
    ("I3", identities, "fa_loss", scaled(fm.fa_loss, 100.0)),
    (
        "I4",
        identities,
        "fa_loss",
        lambda s, t, method: fm.fa_loss(s, t) * (SLIGHTLY ** len(method)),
    ),
    ("I5", identities, "fa_loss", scaled(fm.fa_loss, SLIGHTLY)),
    ("I6", claims.evidence, "gap_spectrum", lambda s, t: np.abs(fm.gap_spectrum(s, t))),
    ("I7", identities, "ffa_loss", scaled(fm.ffa_loss, SLIGHTLY)),
    ("I8", identities, "fa_gradient", scaled(fm.fa_gradient, 0.5)),
    ("I8", identities, "fa_gradient", lambda s, t: fm.fa_gradient(s, t) + 1e-9 * s),
    ("I9", identities, "ffa_gradient", scaled(fm.ffa_gradient, 0.5)),
    ("I9", identities, "ffa_gradient", lambda s, t, z: fm.ffa_gradient(s, t, z) + 1e-6 * s),
    ("I10", identities, "ffa_mean", scaled(order_one.ffa_mean, 0.5)),
    ("P1", estimates, "ffa_loss", scaled(fm.ffa_loss, 1.1)),
    ("P2", estimates, "sample_probes", stale_probes),
    ("P3", moments, "rademacher_variance", scaled(moments.rademacher_variance, 0.5)),
    ("P4", moments, "sphere_variance", scaled(moments.sphere_variance, 0.5)),
    ("P5", moments, "third_cumulant", scaled(moments.third_cumulant, 1.0001)),
    ("P7", moments, "root_mean", lambda spectrum, k: biased_root(spectrum, 1e9 * k)),
    ("P7", moments, "root_mean", lambda spectrum, k: biased_root(spectrum, k / 2)),
    ("P8", moments, "gradient_noise", scaled(moments.gradient_noise, 1.25)),
    ("P9", order_one, "ffa_mean", fm.fa_loss),
    ("P10", order_one, "ffa_variance", scaled(order_one.ffa_variance, 2.0)),
    ("P11", order_one, "fa_order_one_estimate", scaled(order_one.fa_order_one_estimate, 1.2)),
    ("LAW", tails, "failure_probability", scaled(fm.law.failure_probability, 0.5)),
    ("B10", estimates, "sample_probes", lambda n, _, **o: fm.sample_probes(n, 1, **o)),
    ("B11", tails, "ffa_mean", scaled(order_one.ffa_mean, 2.0)),
    *(
        (claim_id, tails, "failure_probability", scaled(fm.law.failure_probability, 5.0))
        for claim_id in fm.bounds.GAUSSIAN_BOUNDS
    ),
]


def biased_root(spectrum, k):
    """P7 with its bias for any k: with a large one, hardly any."""
    return fm.moments.mean(spectrum) ** 0.5 * (1 - 1 / (4 * k * fm.effective_rank(spectrum)))


@pytest.mark.parametrize(
    ("claim_id", "module", "name", "wrong"), PLANTED, ids=[planted[0] for planted in PLANTED]
)
def test_every_claim_fails_on_a_planted_error(claim_id, module, name, wrong, cases, monkeypatch):
    monkeypatch.setattr(module, name, wrong)
    fresh = [Case(case.name, case.student, case.teacher) for case in cases]
    assert not all(evidence.holds for evidence in check(claim_id, fresh))


def test_every_claim_has_its_planted_error():
    assert {claim.id for claim in claims.CLAIMS} == {planted[0] for planted in PLANTED}


@pytest.mark.parametrize(
    ("evidence", "holds"),
    [
        (Evidence(1.1, 1.0, "<=", 0.2), True),
        (Evidence(1.3, 1.0, "<=", 0.2), False),
        (Evidence(0.0, 1.0, "<=", 0.2), True),
        (Evidence(0.7, 1.0, "=", 0.2), False),
        (Evidence(np.nan, 1.0, "=", 0.2), False),
        (Evidence(np.nan, 1.0, "<=", 0.2), False),
    ],
)
def test_evidence_holds_within_its_allowance_only(evidence, holds):
    assert evidence.holds is holds
    assert (evidence.strain <= 1) is holds


@pytest.mark.parametrize("factor", [0.0, 1.0, -2.5])
def test_pairs_without_a_gap_are_refused(factor):
    """Also where rounding leaves a gap: nothing relative can be said of it."""
    maps = np.random.default_rng(2).standard_normal((2, 3, 4, 4))
    student = maps if factor else np.zeros_like(maps)
    with pytest.raises(ValueError, match="student and teacher agree on every sample of same"):
        claims.cases_from_pairs({"same": (student, factor * maps)})
    teacher = np.stack([factor * maps[0], maps[0]])
    mixed = claims.cases_from_pairs({"mixed": (student, teacher)})
    assert [case.name for case in mixed] == ["mixed[1]"]


def test_a_gap_as_small_as_1e_10_is_verified():
    student, teacher = np.random.default_rng(3).standard_normal((2, 1, 3, 4, 4))
    (case,) = claims.cases_from_pairs({"close": (student, student + 1e-10 * teacher)})
    for claim_id in ("P1", "P2", "P5", "P8", "LAW", "B9"):
        assert check(claim_id, [case])[0].holds


@pytest.mark.parametrize("claim_id", ["B6", "B9"])
def test_wide_maps_whose_probabilities_underflow_pass(claim_id):
    student, teacher = np.random.default_rng(4).standard_normal((2, 1, 300, 20, 20))
    cases = claims.cases_from_pairs({"wide": (student, teacher)})
    assert check(claim_id, cases)[0].holds


def test_verify_refuses_bad_requests(cases):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="replications is 10; an integer of at least 100"):
        next(claims.verify(cases, rng=rng, replications=10))
    with pytest.raises(ValueError, match="false_alarm is 2; a finite number above 0 and below 1"):
        next(claims.verify(cases, rng=rng, false_alarm=2))
    with pytest.raises(ValueError, match="k is 2; an integer of at least 5"):
        next(claims.verify(cases, rng=rng, k=2))
    with pytest.raises(TypeError, match="rng is a int"):
        next(claims.verify(cases, rng=0))


@pytest.fixture
def feature_file(tmp_path):
    rng = np.random.default_rng(3)
    path = tmp_path / "features.npz"
    student, teacher = rng.standard_normal((2, 3, 4, 5, 5)).astype(np.float32)
    np.savez(path, **{"student.stage1": student, "teacher.stage1": teacher, "images": student})
    return path


def test_command_reports_every_claim_and_repeats_to_the_byte(feature_file, tmp_path, capsys):
    reports = []
    for name in ("first.json", "second.json"):
        path = tmp_path / name
        assert cli.main(["verify", "--features", str(feature_file), "--json", str(path)]) == 0
        reports.append(path.read_bytes())
    assert reports[0] == reports[1]
    assert [r["claim"] for r in json.loads(reports[0])] == [c.id for c in claims.CLAIMS]
    output = capsys.readouterr().out
    assert f"All {len(claims.CLAIMS)} claims hold on 3 pairs of feature maps." in output
    assert max(cell_len(line) for line in output.splitlines()) <= 80


def test_command_exits_with_1_when_a_claim_fails(feature_file, monkeypatch, capsys):
    monkeypatch.setattr(estimates, "ffa_loss", scaled(fm.ffa_loss, 1.2))
    assert cli.main(["verify", "--features", str(feature_file)]) == 1
    assert " claims fail on 3 pairs of feature maps: P1, " in capsys.readouterr().out


def bad_file(tmp_path, content):
    path = tmp_path / "bad.npz"
    match content:
        case "nothing":
            pass
        case "text":
            path.write_text("not an archive")
        case "empty":
            path.write_bytes(b"")
        case "an array":
            with path.open("wb") as file:
                np.save(file, np.ones(3))
        case "a pickle":
            np.savez(path, **{"student.a": np.array([{}]), "teacher.a": np.ones((1, 1, 1, 1))})
        case "no pair":
            np.savez(path, **{"student.a": np.ones((1, 1, 1, 1))})
        case "no arrays":
            np.savez(path)
        case "integers":
            ones = np.ones((1, 1, 1, 1), dtype=int)
            np.savez(path, **{"student.a": ones, "teacher.a": ones})
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nothing", "is no file; an .npz file of captured feature maps is accepted"),
        ("text", "cannot be read .*; an .npz file of plain numeric arrays is accepted"),
        ("empty", "cannot be read"),
        ("an array", "cannot be read"),
        ("a pickle", "cannot be read .*Object arrays cannot be loaded"),
        ("no pair", "holds student.a; pairs student.NAME and teacher.NAME are accepted"),
        ("no arrays", "holds no arrays; pairs"),
        ("integers", "student has dtype int64"),
    ],
)
def test_bad_feature_files_are_refused_by_name(tmp_path, content, message, capsys):
    path = bad_file(tmp_path, content)
    with pytest.raises((OSError, ValueError, TypeError), match=message):
        load_feature_pairs(path)
    assert cli.main(["verify", "--features", str(path)]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("faqd-math: ")
    assert complaint.count("\n") == 1
