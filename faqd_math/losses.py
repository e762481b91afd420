"""Feature affinity loss (FA), exact, and its randomised approximation (FFA) (§1)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from faqd_math._validation import Array, check_choice, check_probes, reduce_samples
from faqd_math.cost import cheapest_exact
from faqd_math.features import unit_pixel_pair
from faqd_math.spectrum import small_gap, squared_norm

Method = Literal["auto", "direct", "gram", "spectrum"]
Order = Literal[1, 2]
Reduction = Literal["mean", "sum", "none"]

# Below this share of ‖S_s‖² + ‖S_t‖², about 1e-4, the Gram identity has lost a quarter of
# float64's digits, and "auto" takes the spectrum form instead (§5).
CANCELLATION = float(np.finfo(np.float64).eps) ** 0.25


def fa_loss(
    student: Any,
    teacher: Any,
    *,
    order: Order = 2,
    method: Method = "auto",
    reduction: Reduction = "mean",
) -> Any:
    """Exact feature affinity loss of the gap A = S_student − S_teacher (§1, I3–I5).

    Parameters
    ----------
    student, teacher : array (C, H, W) or (B, C, H, W)
        Feature maps; float16, float32 or float64, computed in float64. Channels may differ; a
        teacher of another size is resized to the student's, bilinearly with aligned corners.
    order : {2, 1}
        2: ‖A‖_F²/N². 1: Σ|A_ij|/N².
    method : {"auto", "direct", "gram", "spectrum"}
        direct forms A, O(N²C); gram uses I4, O(NC²), and cancels where the maps nearly agree;
        spectrum uses a QR of the (C_s+C_t) channels, O(NC²), and does not cancel. auto takes the
        cheaper of direct and gram, and spectrum where gram would cancel. Order 1 has no other
        exact path than direct.
    reduction : {"mean", "sum", "none"}
        Over the samples of a batch.

    Returns
    -------
    float, or array (B,) with reduction "none" on a batch

    Raises
    ------
    TypeError
        If a map is not a floating NumPy array.
    ValueError
        If a map has another rank, is empty, NaN or infinite, the batches differ, or an option
        is unknown.

    Notes
    -----
    The error relative to the exact loss of the given maps is of order u·(‖S_s‖²+‖S_t‖²)/μ for
    gram and u·√((‖S_s‖²+‖S_t‖²)/μ) for direct and spectrum, u = 2⁻⁵³ and μ = ‖A‖_F². The
    result is never negative.

    Examples
    --------
    Affinities of two pixels, once parallel and once orthogonal: two of four entries differ by 1.

    >>> parallel, orthogonal = np.ones((1, 1, 2)), np.eye(2).reshape(2, 1, 2)
    >>> fa_loss(parallel, orthogonal), fa_loss(parallel, orthogonal, order=1)
    (0.5, 0.5)
    """
    check_choice(order, "order", (1, 2))
    check_choice(method, "method", ("auto", "direct", "gram", "spectrum"))
    check_choice(reduction, "reduction", ("mean", "sum", "none"))
    if order == 1 and method in ("gram", "spectrum"):
        raise ValueError(
            f"method is {method!r} with order 1, which only 'direct' computes: use method='auto', "
            f"or order_one.fa_order_one_estimate for a fast estimate."
        )
    x, y, _ = unit_pixel_pair(student, teacher)
    if order == 1:
        totals = direct_total(x, y, order)
    elif method == "auto":
        totals = automatic_total(x, y)
    else:
        totals = {"direct": direct_total, "gram": gram_total, "spectrum": spectrum_total}[method](
            x, y
        )
    values = totals / x.shape[-1] ** 2
    return reduce_samples(values, reduction, single=np.ndim(student) == 3)


def ffa_loss(
    student: Any,
    teacher: Any,
    probes: Any,
    *,
    order: Order = 2,
    reduction: Reduction = "mean",
) -> Any:
    """Fast feature affinity loss with the given probes Z (§1, I7, P1).

    Order 2: ‖AZ‖_F²/(kN²), an unbiased estimate of FA. Order 1: Σ_j‖A z_j‖₁/(kN²), which
    estimates √(2/π) times the (2,1)-norm of A over N², not FA of order 1 (P9).
    Computed as Xᵀ(XZ) − Yᵀ(YZ): no N×N matrix, O(NkC).

    Parameters
    ----------
    student, teacher : array (C, H, W) or (B, C, H, W)
        As in `fa_loss`.
    probes : array (N, k) or (B, N, k)
        From `sample_probes`, shared by the batch or one matrix per sample.
    order : {2, 1}
        The norm, as above.
    reduction : {"mean", "sum", "none"}
        Over the samples of a batch.

    Returns
    -------
    float, or array (B,) with reduction "none" on a batch

    Raises
    ------
    TypeError, ValueError
        As `fa_loss`; and if the probes do not fit the student's pixels or batch.

    Examples
    --------
    N orthogonal probes give FA exactly (I7):

    >>> from faqd_math import sample_probes
    >>> rng = np.random.default_rng(0)
    >>> student, teacher = rng.standard_normal((2, 3, 4, 4))
    >>> z = sample_probes(16, 16, law="orthogonal", rng=rng)
    >>> bool(np.isclose(ffa_loss(student, teacher, z), fa_loss(student, teacher)))
    True
    """
    check_choice(order, "order", (1, 2))
    check_choice(reduction, "reduction", ("mean", "sum", "none"))
    x, y, _ = unit_pixel_pair(student, teacher)
    z = check_probes(probes, n=x.shape[-1], batch=len(x))
    az = apply_gap(x, y, z)
    totals = (np.abs(az) if order == 1 else az**2).sum(axis=(-2, -1))
    values = totals / (z.shape[-1] * x.shape[-1] ** 2)
    return reduce_samples(values, reduction, single=np.ndim(student) == 3)


def apply_gap(x: Array, y: Array, z: Array) -> Array:
    """Return AZ = Xᵀ(XZ) − Yᵀ(YZ), of shape (B, N, k), without forming A."""
    return x.mT @ (x @ z) - y.mT @ (y @ z)


def direct_total(x: Array, y: Array, order: Order = 2) -> Array:
    """Σ|A_ij|^order of each sample, (B,), with one N×N matrix in memory at a time."""
    totals = np.empty(len(x))
    for b, (xb, yb) in enumerate(zip(x, y, strict=True)):
        gap = xb.T @ xb - yb.T @ yb
        totals[b] = np.abs(gap).sum() if order == 1 else squared_norm(gap)
    return totals


def _gram_terms(x: Array, y: Array) -> tuple[Array, Array]:
    """μ by the Gram identity (I4), and the size ‖S_s‖² + ‖S_t‖² of what it subtracts from."""
    size = squared_norm(x @ x.mT) + squared_norm(y @ y.mT)
    return np.maximum(size - 2 * squared_norm(x @ y.mT), 0.0), size


def gram_total(x: Array, y: Array) -> Array:
    """μ = ‖A‖_F² of each sample, (B,), by the Gram identity (I4)."""
    return _gram_terms(x, y)[0]


def spectrum_total(x: Array, y: Array) -> Array:
    """μ of each sample, (B,), by a QR of its channels (I5)."""
    return squared_norm(small_gap(x, y))


def automatic_total(x: Array, y: Array) -> Array:
    """μ of each sample, (B,), by the cheapest path that keeps its digits."""
    if cheapest_exact(x.shape[2], x.shape[1], y.shape[1]) == "direct":
        return direct_total(x, y)
    totals, size = _gram_terms(x, y)
    cancelled = totals < CANCELLATION * size
    if cancelled.any():
        totals[cancelled] = spectrum_total(x[cancelled], y[cancelled])
    return totals
