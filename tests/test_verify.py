"""`faqd-math verify`: its report, its exit code, some of the claims, and bad feature files."""

import json
import shlex
import subprocess
from hashlib import sha256

import numpy as np
import pytest
from rich.cells import cell_len

import faqd_math as fm
from faqd_math import claims, cli
from faqd_math.claims import estimates
from faqd_math.claims.feature_files import load_feature_pairs
from faqd_math.reports.provenance import checkout_state


@pytest.fixture
def feature_file(tmp_path):
    rng = np.random.default_rng(3)
    path = tmp_path / "features.npz"
    student, teacher = rng.standard_normal((2, 3, 4, 5, 5)).astype(np.float32)
    np.savez(path, **{"student.stage1": student, "teacher.stage1": teacher, "images": student})
    return path


def report(tmp_path, *arguments, code=0):
    path = tmp_path / "report.json"
    assert cli.main(["verify", *map(str, arguments), "--json", str(path)]) == code
    return path.read_text()


def test_the_report_has_every_claim_and_repeats_to_the_byte(feature_file, tmp_path, capsys):
    text = report(tmp_path, "--features", feature_file)
    output = capsys.readouterr().out
    assert f"All {len(claims.CLAIMS)} claims hold on 3 pairs of feature maps." in output
    assert max(cell_len(line) for line in output.splitlines()) <= 80
    read = json.loads(text)
    assert [r["claim"] for r in read["claims"]] == [c.id for c in claims.CLAIMS]
    again = shlex.split(read["command"])
    assert again[:2] == ["faqd-math", "verify"]
    assert report(tmp_path, *again[2:]) == text


def test_some_claims_get_the_numbers_of_the_whole_report(feature_file, tmp_path):
    """P8 draws for itself, P2 and LAW share draws, R2 has no subject given, B4 draws nothing."""
    options = ["--features", feature_file, "--samples", 1, "--replications", 200, "--seed", 3]
    whole = {c["claim"]: c for c in json.loads(report(tmp_path, *options))["claims"]}
    for chosen in (["P8", "B4"], ["R2", "LAW", "P2"]):
        some = json.loads(report(tmp_path, *chosen, *options))
        assert some["claims"] == [whole[claim_id] for claim_id in chosen]


def test_seeds_and_subjects_have_random_numbers_of_their_own(tmp_path):
    def measured(*arguments):
        read = json.loads(report(tmp_path, "P1", "--replications", 100, *arguments))
        return [check["measured"] for check in read["claims"][0]["checks"]]

    first, second = measured("--seed", 1), measured("--seed", 2)
    assert len({*first, *second}) == len(first) + len(second)


def test_the_report_says_what_it_was_made_with(feature_file, tmp_path):
    options = ["--features", feature_file, "--k", 7, "--replications", 100, "--seed", 5]
    read = json.loads(report(tmp_path, "I1", *options, "--samples", 2))
    assert read["command"] == (
        f"faqd-math verify I1 --features {feature_file} --samples 2 --replications 100 --k 7 "
        f"--seed 5"
    )
    assert (read["seeds"], read["k"], read["replications"]) == ([5], 7, 100)
    assert read["version"] == fm.__version__
    assert read["features_sha256"] == sha256(feature_file.read_bytes()).hexdigest()
    assert json.loads(report(tmp_path, "I1"))["features_sha256"] is None


def git(folder, *arguments):
    author = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *author, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_the_revision_is_that_of_the_packages_own_checkout(tmp_path, monkeypatch):
    package = tmp_path / "own" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    assert checkout_state(package) == (None, None)  # no checkout
    git(package.parent, "init")
    assert checkout_state(package) == (None, None)  # not tracked
    git(package.parent, "add", ".")
    git(package.parent, "commit", "-m", "first")
    revision = git(package.parent, "rev-parse", "HEAD")
    (package.parent / "report.json").write_text("{}")
    monkeypatch.setenv("GIT_DIR", str(tmp_path))  # as within a hook
    assert checkout_state(package) == (revision, False)
    (package / "new.py").write_text("")
    assert checkout_state(package) == (revision, True)
    monkeypatch.delenv("GIT_DIR")
    # Installed in the environment of another project, whose commit says nothing about it.
    installed = package.parent / ".venv" / "package"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    git(package.parent, "add", "--force", ".")
    assert checkout_state(installed) == (None, None)
    monkeypatch.setenv("PATH", str(tmp_path))  # without git
    assert checkout_state(package) == (None, None)


def test_the_exit_code_is_1_when_a_claim_fails(feature_file, monkeypatch, capsys):
    right = fm.ffa_loss
    monkeypatch.setattr(estimates, "ffa_loss", lambda *a, **options: 1.2 * right(*a, **options))
    assert cli.main(["verify", "--features", str(feature_file)]) == 1
    assert " claims fail on 3 pairs of feature maps: P1, " in capsys.readouterr().out


def test_an_unknown_claim_is_refused(capsys):
    assert cli.main(["verify", "P8", "P99"]) == 2
    assert "claim 'P99' is unknown; an id as I1 is accepted" in capsys.readouterr().err


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
        ("nothing", "is not a file; an .npz file of captured feature maps is accepted"),
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
