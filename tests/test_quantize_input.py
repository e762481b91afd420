"""Bad input of the quantizers: every message says what came, what is accepted, what to do."""

import re

import numpy as np
import pytest

from faqd_math.quantize import (
    activation_derivatives,
    alternating_projection,
    project_weights,
    quantize_activations,
)

GOOD = np.ones(3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: project_weights([1.0], 2), TypeError, "weights is a list; a NumPy array"),
        (lambda: project_weights(np.arange(3), 2), TypeError, "weights has dtype int64"),
        (lambda: project_weights(GOOD * np.nan, 2), ValueError, "weights holds 3 entries"),
        (
            lambda: project_weights(GOOD[:0], 2),
            ValueError,
            "weights has shape (0,), which is empty",
        ),
        (lambda: project_weights(GOOD, 0), ValueError, "bits is 0; an integer of at least 1"),
        (lambda: project_weights(GOOD, 9), ValueError, "bits is 9; an integer from 1 to 8"),
        (lambda: project_weights(GOOD, 2.0), TypeError, "bits is a float; an integer"),
        (lambda: project_weights(GOOD, True), TypeError, "bits is a bool; an integer"),
        (
            lambda: project_weights(GOOD, 2, channel_axis=1),
            ValueError,
            "channel_axis is 1, but weights has shape (3,); an axis of it is accepted",
        ),
        (
            lambda: project_weights(GOOD, 2, channel_axis=-2),
            ValueError,
            "channel_axis is -2; an integer of at least -1",
        ),
        (
            lambda: project_weights(GOOD, 2, channel_axis=True),
            TypeError,
            "channel_axis is a bool; an integer",
        ),
        (
            lambda: alternating_projection(GOOD, 2, iterations=0),
            ValueError,
            "iterations is 0; an integer of at least 1",
        ),
        (
            lambda: alternating_projection(GOOD, 2, iterations=1, initial_step=2.0),
            ValueError,
            "initial_step is 2.0; a finite number above 0 and below 2 is accepted: choose a step "
            "that does not round every weight to 0, or None.",
        ),
        (
            lambda: alternating_projection(GOOD, 2, iterations=1, initial_step="1"),
            TypeError,
            "initial_step is a str; a real number",
        ),
        (
            lambda: alternating_projection(GOOD[:0], 2, iterations=1),
            ValueError,
            "which is empty; at least one weight is accepted: leave out layers without weights.",
        ),
        (lambda: alternating_projection(GOOD, 9, iterations=1), ValueError, "bits is 9;"),
        (lambda: quantize_activations([1.0], 2, 1.0), TypeError, "x is a list; a NumPy array"),
        (lambda: quantize_activations(GOOD / 0.0, 2, 1.0), ValueError, "x holds 3 entries"),
        (lambda: quantize_activations(GOOD, 9, 1.0), ValueError, "bits is 9; an integer"),
        (
            lambda: quantize_activations(GOOD, 2, 0.0),
            ValueError,
            "step is 0.0; a finite number above 0 and below 7.02224e+305 is accepted: pass a "
            "positive α.",
        ),
        (lambda: activation_derivatives(GOOD, 2, None), TypeError, "step is a NoneType; a real"),
        (lambda: activation_derivatives(GOOD, 2, np.nan), ValueError, "step is nan; a finite"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with np.errstate(divide="ignore"), pytest.raises(error, match=re.escape(message)):
        call()
