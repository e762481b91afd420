"""The study of rounding: every path of the torch losses and plain formulas, small maps."""

from dataclasses import replace

import pytest
import torch

from analysis.studies.floating_point import ErrorRow, error_table

SMALL = {"channels": 3, "side": 4, "k": 5}


def table(seed=0, **options):
    return error_table(generator=torch.Generator().manual_seed(seed), **SMALL, **options)


@pytest.fixture(scope="module")
def rows():
    return table()


def check_bounds(rows: list[ErrorRow]):
    """Each error is within its bound, and each path's bound within 2,000 of some error.

    The bounds let the roundings of N = 16 pixels conspire. Float64 tells: in it the result of the
    losses is not rounded again, which alone would come near to any bound.
    """
    for row in rows:
        assert row.error <= row.bound, f"beyond its bound: {row}"
    for path in dict.fromkeys(row.path for row in rows):
        shares = [r.error / r.bound for r in rows if (r.path, r.dtype) == (path, torch.float64)]
        assert max(shares) >= 1 / 2000, f"the bound of {path} is far above its errors"


def test_errors_are_within_their_bounds_and_bounds_within_2000_of_the_errors(rows):
    check_bounds(rows)
    assert len(rows) == 9 * (2 * 7 + 2 * 6)  # QR only in float64 and float32


@pytest.mark.parametrize("path", ["fa_loss", "ffa_loss", "plain direct", "plain spectrum"])
def test_a_bound_that_is_too_low_or_too_high_is_caught(rows, path):
    for factor, message in ((1e-5, "beyond its bound"), (1e3, f"the bound of {path} is far")):
        moved = [replace(r, bound=factor * r.bound) if r.path == path else r for r in rows]
        with pytest.raises(AssertionError, match=message):
            check_bounds(moved)


def test_losses_of_every_dtype_keep_four_digits_at_every_gap(rows):
    public = [row for row in rows if not row.path.startswith("plain")]
    assert len(public) == 3 * 4 * 9
    assert max(row.error for row in public) <= 1e-4


def plain(rows, path, dtype, gap):
    (row,) = (r for r in rows if (r.path, r.dtype, r.gap) == (f"plain {path}", dtype, gap))
    return row.error


def test_plain_gram_in_float32_has_no_digit_left_at_a_gap_of_1e_4(rows):
    assert plain(rows, "gram", torch.float32, 1e-4) >= 1
    for path in ("direct", "spectrum", "ffa"):
        assert plain(rows, path, torch.float32, 1e-4) <= 1e-3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bits_leave_no_plain_path_a_digit_at_a_gap_of_1e_4(rows, dtype):
    for path in ("direct", "gram", "ffa"):
        assert plain(rows, path, dtype, 1e-4) >= 0.1


def test_table_repeats_with_its_generator():
    options = {"gaps": (1.0, 1e-4), "dtypes": (torch.float64, torch.bfloat16)}
    assert table(**options) == table(**options)
    assert table(**options) != table(seed=1, **options)
