"""Maps, spectra and wrong statements that several tests share."""

import numpy as np

from faqd_math.testing import feature_pairs

MIXED = np.array([3.0, -2.0, 1.0, 0.3, -0.1])
SPECTRA = {
    "rank 1": np.array([-3.0]),
    "rank 7": np.ones(7),
    "mixed": MIXED,
    "one above many": np.append(1.0, np.full(60, -0.1)),
    "many scales": 10.0 ** -np.linspace(0, 3, 30),
}
ZERO_GAPS = {"empty": np.empty(0), "zero": np.zeros(3)}

#: Hypothesis: student and teacher (C, H, W) of one size.
single_pairs = feature_pairs(max_batch=1, same_size=True).map(
    lambda pair: tuple(maps if maps.ndim == 3 else maps[0] for maps in pair)
)


def random_pair(seed, *, dead=(), student=(5, 3, 4), teacher=(3, 3, 4)):
    """Draw maps of unequal numbers of channels, with dead pixels where an index says."""
    rng = np.random.default_rng(seed)
    pair = rng.standard_normal(student), rng.standard_normal(teacher)
    if dead:
        pair[0][dead] = 0.0
    return pair


def batched(maps):
    """Return a map (C, H, W) as a batch of one, and a batch as it is."""
    return maps if maps.ndim == 4 else maps[np.newaxis]


def scaled(function, factor):
    """Plant a wrong constant in a function's value."""
    return lambda *arguments, **options: factor * function(*arguments, **options)
