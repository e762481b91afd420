"""Strategies, properties and replication tests for any implementation of FA and FFA.

Needs the extra ``faqd[testing]`` (Hypothesis).
"""

try:
    import hypothesis  # noqa: F401  (probed here so that the message names the extra)
except ImportError as error:
    raise ImportError(
        "faqd_math.testing needs Hypothesis, which is not installed: pip install 'faqd[testing]'."
    ) from error

from faqd_math.testing.replication import assert_mean, assert_rate_at_most, assert_variance
from faqd_math.testing.strategies import (
    feature_maps,
    feature_pairs,
    feature_triples,
    generators,
    probes_for,
    weight_arrays,
)

__all__ = [
    "assert_mean",
    "assert_rate_at_most",
    "assert_variance",
    "feature_maps",
    "feature_pairs",
    "feature_triples",
    "generators",
    "probes_for",
    "weight_arrays",
]
