"""Hypothesis profiles: deterministic by default, random by choice (HYPOTHESIS_PROFILE=random)."""

import os

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
