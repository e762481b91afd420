"""A guard for the habit that nothing seeds or touches a global random state.

NumPy's and torch's; Python's own ``random`` is left out, from which terminal libraries draw names.
"""

from contextlib import contextmanager

import numpy as np
import torch


def _states():
    """Read the global generators' states, comparable and restorable."""
    numpy_state = np.random.get_state()  # noqa: NPY002  (the very state to leave alone)
    return {
        "numpy.random": (numpy_state[0], tuple(numpy_state[1]), *numpy_state[2:]),
        "torch": tuple(torch.random.get_rng_state().tolist()),
    }


@contextmanager
def untouched_global_randomness():
    """Raise AssertionError if the code inside draws from a global generator or seeds it.

    One draw from each comes first: what was seeded to a fixed value before would otherwise stand
    there again, unnoticed, after being seeded to it anew. In the end all is as it was.
    """
    original = _states()
    np.random.random()  # noqa: NPY002
    torch.rand(())
    before = _states()
    try:
        yield
        after = _states()
    finally:
        np.random.set_state(original["numpy.random"])  # noqa: NPY002
        torch.random.set_rng_state(torch.tensor(original["torch"], dtype=torch.uint8))
    touched = [name for name in before if before[name] != after[name]]
    if touched:
        raise AssertionError(f"the global generators of {', '.join(touched)} were touched")
