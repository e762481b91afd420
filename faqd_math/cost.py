"""Multiply-adds and bytes of the three exact paths and of FFA, per sample, forward (§4).

Normalising the pixels, O(NC), is common to all and left out.
"""

from __future__ import annotations

from typing import Literal

from faqd_math._validation import check_choice, check_count

LossPath = Literal["direct", "ffa", "gram"]


def multiply_adds(
    path: LossPath, n: int, student_channels: int, teacher_channels: int, k: int = 15
) -> int:
    """Multiply-adds of one sample's loss of order 2 by ``path`` (§4).

    Parameters
    ----------
    path : {"direct", "ffa", "gram"}
        direct: N²(C_s+C_t); ffa: 2Nk(C_s+C_t); gram: N(C_s²+C_t²+C_sC_t).
    n, student_channels, teacher_channels : int
        Pixels and channels.
    k : int
        Probes; counted by "ffa" only.

    Returns
    -------
    int
        Multiply-adds.

    Examples
    --------
    The first stage of a CIFAR network, where exact Gram costs less than 15 probes:

    >>> [multiply_adds(path, 1024, 16, 16) for path in ("direct", "ffa", "gram")]
    [33554432, 983040, 786432]
    """
    n, cs, ct, k = _checked(path, n, student_channels, teacher_channels, k)
    if path == "direct":
        return n * n * (cs + ct)
    if path == "ffa":
        return 2 * n * k * (cs + ct)
    return n * (cs * cs + ct * ct + cs * ct)


def extra_bytes(
    path: LossPath,
    n: int,
    student_channels: int,
    teacher_channels: int,
    k: int = 15,
    *,
    itemsize: int = 8,
) -> int:
    """Bytes that ``path`` holds beside the unit pixels (§4).

    direct: the N² entries of the gap; ffa: the probes, two projections and the result;
    gram: the three small products. ``itemsize`` is the bytes of one number.

    Examples
    --------
    >>> extra_bytes("direct", 3136, 64, 64), extra_bytes("gram", 3136, 64, 64)
    (78675968, 98304)
    """
    n, cs, ct, k = _checked(path, n, student_channels, teacher_channels, k)
    itemsize = check_count(itemsize, "itemsize")
    if path == "direct":
        return itemsize * n * n
    if path == "ffa":
        return itemsize * k * (2 * n + cs + ct)
    return itemsize * (cs * cs + ct * ct + cs * ct)


def _checked(path: LossPath, n: int, cs: int, ct: int, k: int) -> tuple[int, int, int, int]:
    check_choice(path, "path", ("direct", "ffa", "gram"))
    counts = {"n": n, "student_channels": cs, "teacher_channels": ct, "k": k}
    n, cs, ct, k = (check_count(count, name) for name, count in counts.items())
    return n, cs, ct, k


def cheapest_exact(n: int, student_channels: int, teacher_channels: int) -> LossPath:
    """Name the exact path of order 2 with fewer multiply-adds: "gram", unless N is small (§4).

    Examples
    --------
    >>> cheapest_exact(1024, 16, 16), cheapest_exact(49, 512, 512)
    ('gram', 'direct')
    """
    gram = multiply_adds("gram", n, student_channels, teacher_channels)
    direct = multiply_adds("direct", n, student_channels, teacher_channels)
    return "gram" if gram <= direct else "direct"
