"""What all tests share: Hypothesis profiles, and a guard of the global random states.

The profile is deterministic by default, random by choice: HYPOTHESIS_PROFILE=random.
"""

import os

import pytest
from global_randomness import untouched_global_randomness
from hypothesis import HealthCheck, settings

# Deadlines measure the machine, not the code.
settings.register_profile(
    "deterministic",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("random", parent=settings.get_profile("deterministic"), derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "deterministic"))


@pytest.fixture(autouse=True)
def _global_randomness_is_untouched():
    with untouched_global_randomness():
        yield


@pytest.fixture(scope="session")
def teacher(tmp_path_factory):
    """Train the tiny digits teacher once; return its folder, not to be changed."""
    from tiny_runs import train  # torch is not needed by all tests

    folder = tmp_path_factory.mktemp("runs") / "teacher"
    train(folder, name="digits-teacher")
    return folder


@pytest.fixture
def passes(monkeypatch):
    """Return a list that grows by one with every pass of a teacher in a training."""
    from faqd_train.training import teacher as module

    genuine, seen = module.running_in, []

    def noting(precision, device):
        seen.append(precision)
        return genuine(precision, device)

    monkeypatch.setattr(module, "running_in", noting)
    return seen
