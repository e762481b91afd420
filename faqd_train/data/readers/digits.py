"""The 1,797 handwritten digits that scikit-learn embeds: (1, 8, 8), grey levels 0 … 16."""

from __future__ import annotations

from functools import cache

import numpy as np

from faqd_train.data.pools import Collection, array_pool


@cache
def read_digits() -> Collection:
    """Return images and labels; the embedded file holds both in one table."""
    from sklearn.datasets import load_digits  # a second to import, and for this data set alone

    digits = load_digits()
    pool = array_pool(digits.images.astype(np.uint8)[:, None], digits.target)
    return Collection(pool, None, tuple(str(name) for name in digits.target_names), files=())
