"""Q5: the activation quantizer and its surrogate derivatives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from faqd_math.quantize import activation_derivatives, quantize_activations

BITS = st.integers(1, 8)


def naive_activation(x, bits, step):
    """Q5 as a loop over the intervals."""
    if x <= 0:
        return 0.0
    for j in range(1, 2**bits):
        if (j - 1) * step < x <= j * step:
            return j * step
    return (2**bits - 1) * step


@given(BITS, st.floats(1e-3, 5), st.data())
def test_activations_equal_the_loop_over_intervals(bits, step, data):
    levels = st.integers(-2, 2**bits + 1).map(lambda j: j * step)
    entries = st.one_of(levels, st.floats(-2 * step, 2 * 2**bits * step))
    x = data.draw(npst.arrays(np.float64, st.integers(0, 20), elements=entries))
    quantized = quantize_activations(x, bits, step)
    assert quantized.tolist() == [naive_activation(v, bits, step) for v in x]
    assert (quantize_activations(quantized, bits, step) == quantized).all()


@given(BITS, st.floats(1e-3, 5), st.data())
def test_surrogate_derivatives_have_their_three_pieces(bits, step, data):
    top = (2**bits - 1) * step
    pieces = {
        "below": (st.floats(-top, 0), 0, 0),
        "inside": (st.floats(0, top, exclude_min=True), 1, 2 ** (bits - 1)),
        "beyond": (st.floats(top, 2 * top, exclude_min=True), 0, 2**bits - 1),
    }
    entries, d_x, d_step = data.draw(st.sampled_from(sorted(pieces)).map(pieces.get))
    x = data.draw(npst.arrays(np.float64, (2, 3), elements=entries))
    derivatives = activation_derivatives(x, bits, step)
    assert (derivatives[0] == d_x).all()
    assert (derivatives[1] == d_step).all()


@pytest.mark.parametrize("bits", range(1, 9))
def test_derivative_in_the_step_is_the_mean_of_the_true_one(bits):
    # Off the breakpoints the true derivative of jα in α is j; one x from each interval.
    middles = np.arange(2**bits - 1) + 0.5
    bump = 2.0**-20
    true = (
        quantize_activations(middles, bits, 1 + bump) - quantize_activations(middles, bits, 1.0)
    ) / bump
    assert activation_derivatives(middles, bits, 1.0)[1].mean() == true.mean()
