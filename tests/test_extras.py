"""Without an optional package, what needs it says which extra brings it."""

import re
import subprocess
import sys

import pytest

WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError("No module named " + name, name=name)

sys.meta_path.insert(0, Missing())
{code}
"""
VERIFY = "from faqd_math.cli import main; sys.exit(main(['verify']))"


def run_without(missing, code):
    script = WITHOUT.format(missing=missing, code=code)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("missing", "code", "message"),
    [
        ("hypothesis", "import faqd_math.testing", r"testing needs Hypothesis.*faqd\[testing\]"),
        ("rich", VERIFY, r"command needs rich, which is not installed: pip install 'faqd\[cli\]'"),
        ("torch", "import faqd_train", r"faqd_train needs torch, .*: pip install 'faqd\[train\]'"),
        ("pydantic", "import faqd_train", "faqd_train needs pydantic"),
        ("safetensors", "import faqd_train", "faqd_train needs safetensors"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(missing, code, message):
    done = run_without([missing], code)
    assert done.returncode in (1, 2)
    assert re.search(message, done.stderr.strip().splitlines()[-1])


def test_the_core_needs_none_of_them():
    missing = ["hypothesis", "matplotlib", "pydantic", "rich", "safetensors", "sklearn", "torch"]
    assert run_without(missing, "import faqd_math").stderr == ""
