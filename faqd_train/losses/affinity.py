"""Feature affinity loss (FA), exact, and its randomised approximation (FFA), differentiable (§1).

The closed-form gradient (I8, I9) is computed in backward; until then autograd keeps the maps, the
pixels' norms and a C×C or N×k matrix a sample, and neither unit pixels nor an N×N matrix.
"""

from __future__ import annotations

from typing import Literal, NoReturn

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from faqd_train._validation import check_choice, check_finite, check_pair, check_probes
from faqd_train.losses.autograd import affinity_values
from faqd_train.losses.batching import is_static, quick_dtype
from faqd_train.losses.forms import Form, accumulation_dtype, cheapest_form
from faqd_train.losses.probes import ProbeLaw, sample_probes

__all__ = ["fa_loss", "ffa_loss", "sample_probes"]

Method = Literal["auto", "gram", "direct"]
Order = Literal[1, 2]
Gradient = Literal["paper", "one-sided"]
Reduction = Literal["mean", "sum", "none"]


def fa_loss(
    student: Tensor,
    teacher: Tensor,
    *,
    order: Order = 2,
    method: Method = "auto",
    reduction: Reduction = "mean",
    check: bool = True,
) -> Tensor:
    """Exact feature affinity loss of the gap A = S_student − S_teacher (§1, I3–I5, I8).

    Parameters
    ----------
    student, teacher : tensor (C, H, W) or (B, C, H, W)
        Feature maps on one device; float64, float32, bfloat16 or float16, and not necessarily
        the same. Computed is in float32, and in float64 where a map has it, where sizes differ
        and for samples whose digits float32 would lose (on MPS, which has no float64, in float32
        throughout). Channels may differ; a teacher of another size is resized to the student's,
        bilinearly with aligned corners.
    order : {2, 1}
        2: ‖A‖_F²/N². 1: Σ|A_ij|/N², whose gradient is a subgradient.
    method : {"auto", "gram", "direct"}
        gram uses I4, O(NC²) work and no N×N matrix. direct forms A, O(N²C) work, in blocks of
        rows of bounded memory. auto takes the cheaper one. Order 1 has no other exact path than
        direct.
    reduction : {"mean", "sum", "none"}
        Over the samples of a batch.
    check : bool
        Look whether the loss is finite. False: NaN or infinite maps give NaN, for callers that
        watch the loss themselves and do not wait for an accelerator at every call.

    Returns
    -------
    tensor (), or (B,) with reduction "none" on a batch
        float64 if one of the maps is, else float32.

    Raises
    ------
    TypeError
        If a map is no tensor or not floating.
    RuntimeError
        In backward, with ``create_graph=True``.
    ValueError
        If a map has another rank, is empty, NaN or infinite, the batches or devices differ, the
        teacher requires a gradient, an option is unknown, or order 1 is asked of gram.

    Notes
    -----
    Only the student is differentiated, and once: ``create_graph=True`` raises. Its gradient has
    its own dtype and is exactly 0 at dead pixels. It grows as 1/‖F_i‖, and where that exceeds
    the dtype's range it becomes infinite, so that loss scaling sees it.

    The error relative to the exact loss of the given maps is at most 1e-4 if none is float64
    (checked for N up to 50,176). A sample that float32 might leave further off is computed again
    in float64: where the gap is small beside the affinities, by Gram where μ is below about 0.01
    of s = ‖S_s‖² + ‖S_t‖² and by direct below 1e-5 of 2N², and where pixels' squared norms leave
    the range 2^±100. In float64 the error is of order u·√(s/μ), u = 2⁻⁵³, by either method: where
    Gram, whose error is u·s/μ, would lose a quarter of the digits, it gives way to the spectrum
    form R J Rᵀ (§5). At order 1 it is of order u/L₁. The loss is never negative.

    On CUDA all samples are computed in float64 and no digits are looked at, so that with
    ``check=False`` nothing waits for the device and a CUDA graph can be captured. There Gram's
    error is absolute, of at most about 1e-15: relative to losses below 1e-11 it may exceed 1e-4,
    and ``method="direct"`` does not. ``check`` waits to see whether the result is finite, which
    stands for a check of the inputs. torch.compile leaves a call as one operator, without a graph
    break if ``check`` is False.

    Examples
    --------
    Affinities of two pixels, once parallel and once orthogonal: two of four entries differ by 1.

    >>> parallel, orthogonal = torch.ones(1, 1, 2), torch.eye(2).reshape(2, 1, 2)
    >>> fa_loss(parallel, orthogonal), fa_loss(parallel, orthogonal, order=1)
    (tensor(0.5000), tensor(0.5000))
    """
    check_choice(order, "order", (1, 2))
    check_choice(method, "method", ("auto", "gram", "direct"))
    check_choice(reduction, "reduction", ("mean", "sum", "none"))
    if order == 1 and method == "gram":
        raise ValueError(
            "method is 'gram' with order 1, which only 'direct' computes: use method='auto'."
        )
    student, teacher = check_pair(student, teacher)
    c_student, c_teacher = student.shape[-3], teacher.shape[-3]
    name: str = "direct" if order == 1 else method
    if name == "auto":
        name = cheapest_form(student.shape[-2] * student.shape[-1], c_student, c_teacher)
    return _loss(student, teacher, Form(name, order), reduction, check=check)


def ffa_loss(
    student: Tensor,
    teacher: Tensor,
    *,
    k: int = 15,
    order: Order = 2,
    gradient: Gradient = "paper",
    law: ProbeLaw = "gaussian",
    generator: torch.Generator | None = None,
    probes: Tensor | None = None,
    reduction: Reduction = "mean",
    check: bool = True,
) -> Tensor:
    """Fast feature affinity loss: FA seen through k random probes Z (§1, I7, I9, P1).

    Order 2: ‖AZ‖_F²/(kN²), an unbiased estimate of FA. Order 1: Σ_j‖A z_j‖₁/(kN²), which
    estimates √(2/π) times the (2,1)-norm of A over N², not FA of order 1 (P9).
    Computed as Xᵀ(XZ) − Yᵀ(YZ): no N×N matrix, O(NkC).

    Parameters
    ----------
    student, teacher : tensor (C, H, W) or (B, C, H, W)
        As in `fa_loss`.
    k : int
        Probes to draw; at most N for orthogonal ones. Not read where probes are given.
    order : {2, 1}
        The norm, as above.
    gradient : {"paper", "one-sided"}
        Of order 2. paper: the value's own, X(AZZᵀ + ZZᵀA)·2/(kN²) by the unit pixels X.
        one-sided: (XZ)(AZ)ᵀ·4/(kN²), which treats XZ as a constant and doubles what is left. Both
        have FA's gradient as their mean. The noise of paper's grows with N, that of one-sided's
        does not, and it costs less. The value is the same.
    law : {"gaussian", "rademacher", "sphere", "orthogonal"}
        As in `sample_probes`. Not read where probes are given.
    generator : torch.Generator, optional
        Draws fresh probes at every call, independently for every sample: one matrix shared by
        the batch can have B times the variance (P6). On any device: the probes are moved.
    probes : tensor (N, k) or (B, N, k), optional
        The probes themselves, shared by the batch or one matrix a sample. Give either these or
        a generator. Training against fixed probes can drive FFA to zero while FA stays.
    reduction : {"mean", "sum", "none"}
        Over the samples of a batch.
    check : bool
        As in `fa_loss`.

    Returns
    -------
    tensor (), or (B,) with reduction "none" on a batch
        float64 if one of the maps is, else float32.

    Raises
    ------
    TypeError, ValueError
        As `fa_loss` and `sample_probes`; and if both or neither of generator and probes are
        given, or the probes do not fit the student's pixels, batch or device.

    Notes
    -----
    Gradient, dead pixels, dtypes, errors relative to the exact FFA of the given maps, and waits
    are as in `fa_loss`. Under torch.compile, give probes: a generator breaks the graph.

    Examples
    --------
    N orthogonal probes give FA exactly (I7):

    >>> generator = torch.Generator().manual_seed(0)
    >>> student, teacher = torch.randn(2, 3, 4, 4, generator=generator)
    >>> fast = ffa_loss(student, teacher, k=16, law="orthogonal", generator=generator)
    >>> bool(torch.isclose(fast, fa_loss(student, teacher)))
    True
    """
    check_choice(order, "order", (1, 2))
    check_choice(gradient, "gradient", ("paper", "one-sided"))
    check_choice(reduction, "reduction", ("mean", "sum", "none"))
    if order == 1 and gradient == "one-sided":
        raise ValueError(
            "gradient is 'one-sided' with order 1, for which it would be biased; order 2 is "
            "accepted: use gradient='paper'."
        )
    student, teacher = check_pair(student, teacher)
    if generator is not None and probes is not None:
        raise ValueError(
            "both generator and probes were given; one of them is accepted: pass the generator "
            "to draw fresh probes, or the probes themselves."
        )
    if probes is not None:
        z = check_probes(probes, student)
    elif generator is not None:
        z = sample_probes(
            student.shape[-2] * student.shape[-1],
            k,
            law=law,
            generator=generator,
            batch=len(student) if student.ndim == 4 else None,
            dtype=quick_dtype(student, teacher),
            device=student.device,
        )
    else:
        raise ValueError(
            "neither generator nor probes was given; one of them is needed: pass "
            "generator=torch.Generator().manual_seed(seed) and keep it from call to call."
        )
    form = Form("projected", order, gradient == "one-sided")
    return _loss(student, teacher, form, reduction, z, check=check)


def _loss(
    student: Tensor,
    teacher: Tensor,
    form: Form,
    reduction: str,
    probes: Tensor | None = None,
    *,
    check: bool,
) -> Tensor:
    """Bring the teacher to the student's size, compute the values, reduce."""
    single = torch.promote_types(student.dtype, teacher.dtype)
    maps, reference = (m if m.ndim == 4 else m.unsqueeze(0) for m in (student, teacher))
    if reference.shape[2:] != maps.shape[2:]:
        # Shrinking reads only some pixels: NaN in the others would not reach the result.
        if check:
            check_finite(teacher, "teacher")
        else:
            finite = reference.isfinite().flatten(1).all(1)[:, None, None, None]
            reference = reference.masked_fill(~finite, torch.nan)
        reference = interpolate(
            reference.to(accumulation_dtype(reference.device)),
            size=maps.shape[2:],
            mode="bilinear",
            align_corners=True,
        )
    values = affinity_values(maps, reference, probes, form, static=is_static(maps.device))
    if student.ndim == 3:
        loss = values[0]
    elif reduction == "none":
        loss = values
    else:
        loss = values.mean() if reduction == "mean" else values.sum()
    loss = loss.to(torch.promote_types(single, torch.float32))
    if check and not torch.isfinite(loss.detach()).all():
        _refuse(student, teacher, probes)
    return loss


def _refuse(student: Tensor, teacher: Tensor, probes: Tensor | None) -> NoReturn:
    """Name the input that made the loss NaN or infinite."""
    check_finite(student, "student")
    check_finite(teacher, "teacher")
    if probes is not None:
        check_finite(probes, "probes")
    raise ValueError(
        "probes are so large that the loss overflows; entries of unit variance are accepted: "
        "draw them with sample_probes."
    )
