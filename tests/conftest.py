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
