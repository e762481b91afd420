"""Feature affinity loss (FA), exact, and its randomised approximation (FFA), differentiable (§1).

The closed-form gradient (I8, I9) is computed in backward; until then autograd keeps the maps, the
pixels' norms and a C×C or N×k matrix per sample, and neither unit pixels nor an N×N matrix.
"""

from __future__ import annotations

from typing import Literal, NoReturn

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from faqd_train._validation import check_choice, check_finite, check_pair, check_probes
from faqd_train.losses.autograd import affinity_values
from faqd_train.losses.batching import quick_dtype
from faqd_train.losses.forms import accumulation_dtype
from faqd_train.losses.probes import ProbeLaw, sample_probes
from faqd_train.losses.static import is_static

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
        Feature maps on one device, each float64, float32, bfloat16 or float16. Channels may
        differ; a teacher of another size is resized bilinearly, with aligned corners.
    order : {2, 1}
        2: ‖A‖_F²/N². 1: Σ|A_ij|/N², whose gradient is a subgradient.
    method : {"auto", "gram", "direct"}
        gram uses I4, in O(NC²). direct forms A in blocks of rows of bounded memory, in O(N²C);
        order 1 needs it. auto takes the cheaper one.
    reduction : {"mean", "sum", "none"}
        Over the samples of a batch.
    check : bool
        Refuse NaN and infinity, which waits for an accelerator. False: they give NaN.

    Returns
    -------
    tensor (), or (B,) with reduction "none" on a batch
        float64 if one of the maps is, else float32.

    Raises
    ------
    TypeError
        If a map is not a tensor or not floating.
    ValueError
        If a map has another rank, is empty, NaN or infinite, the batches or devices differ, the
        teacher requires a gradient, an option is unknown, or gram is asked for order 1.
    RuntimeError
        In backward, with ``create_graph=True``: the loss is differentiated once.

    Notes
    -----
    The gradient has the student's dtype and is exactly 0 at dead pixels. It grows as 1/‖F_i‖;
    beyond the dtype's range it becomes infinite, so that loss scaling sees it.

    Without a float64 map the relative error is at most 1e-4 (checked for N up to 50,176): all is
    computed in float32, and again in float64 for samples that might be further off, whose gap is
    small beside the affinities or whose squared norms leave 2^±100. In float64 the error is of
    order u·√(s/μ), s = ‖S_s‖² + ‖S_t‖², μ = ‖A‖², u = 2⁻⁵³: where Gram, off by u·s/μ, would
    lose a quarter of the digits, the spectrum of the gap replaces it (§5). At order 1 it is of
    order u/L₁. The loss is never negative. MPS has no float64 and computes in float32.

    On CUDA all is computed in float64 and nothing is chosen by value, so that with ``check=False``
    no call waits for the device and a CUDA graph can be captured. Gram's error is absolute there,
    about 1e-15, and some 1e-14 where thousands of pixels are equal: of losses below 1e-9 it may
    exceed 1e-4, which direct does not.

    torch.compile takes a call as one operator, without a graph break if ``check`` is False.

    Examples
    --------
    Affinities of two pixels, once parallel and once orthogonal: two of four entries differ by 1.

    >>> parallel, orthogonal = torch.ones(1, 1, 2), torch.eye(2).reshape(2, 1, 2)
    >>> fa_loss(parallel, orthogonal), fa_loss(parallel, orthogonal, order=1)
    (tensor(0.5000), tensor(0.5000))
    """
    check_choice(order, "order", (1, 2))
    check_choice(method, "method", ("auto", "gram", "direct"))
    if order == 1 and method == "gram":
        raise ValueError(
            "method is 'gram' with order 1, which only 'direct' computes: use method='auto'."
        )
    student, teacher = check_pair(student, teacher)
    form = _cheapest_form(student, teacher) if method == "auto" else method
    form = "direct, order 1" if order == 1 else form
    return _loss([student, teacher], form, reduction, check=check)


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
    """Fast feature affinity loss: FA seen through k random probes Z, in O(NkC) (§1, I7, I9, P1).

    Order 2: ‖AZ‖_F²/(kN²), an unbiased estimate of FA. Order 1: Σ_j‖A z_j‖₁/(kN²), which
    estimates √(2/π) times the (2,1)-norm of A over N², not FA of order 1 (P9).

    Parameters
    ----------
    student, teacher, order, reduction, check
        As in `fa_loss`.
    k : int
        Probes to draw; at most N orthogonal ones. Not read where probes are given.
    gradient : {"paper", "one-sided"}
        Of order 2, by the unit pixels X. paper: that of the value, (2/(kN²))·X(AZZᵀ + ZZᵀA).
        one-sided: (4/(kN²))·(XZ)(AZ)ᵀ, as if XZ were constant, twice. Both have FA's gradient as
        their mean. The noise of paper's grows with N, that of one-sided's does not, and it is
        cheaper; the value is the same.
    law : {"gaussian", "rademacher", "sphere", "orthogonal"}
        As in `sample_probes`. Not read where probes are given.
    generator : torch.Generator, optional
        Draws fresh probes at every call, independently for every sample: one matrix shared by
        the batch can have B times the variance (P6). On any device: the probes are moved.
    probes : tensor (N, k) or (B, N, k), optional
        The probes, shared by the batch or for each sample. Give either these or a generator.
        Training against fixed probes can drive FFA to zero while FA stays.

    Returns
    -------
    tensor (), or (B,) with reduction "none" on a batch
        float64 if one of the maps is, else float32.

    Raises
    ------
    TypeError, ValueError
        As `fa_loss` and `sample_probes`; if both or neither of generator and probes are given,
        the probes do not fit the student, or one-sided is asked for order 1.

    Notes
    -----
    As in `fa_loss`, with errors relative to the exact FFA. Under torch.compile, give probes: a
    generator breaks the graph.

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
    if order == 1 and gradient == "one-sided":
        raise ValueError(
            "gradient is 'one-sided' with order 1, for which it would be biased; order 2 is "
            "accepted: use gradient='paper'."
        )
    student, teacher = check_pair(student, teacher)
    if (generator is None) == (probes is None):
        raise ValueError(
            f"{'neither' if probes is None else 'both'} of generator and probes were given; one is "
            f"accepted: pass generator=torch.Generator().manual_seed(seed), kept from call to "
            f"call, to draw fresh probes, or the probes themselves."
        )
    if generator is not None:
        probes = sample_probes(
            student.shape[-2] * student.shape[-1],
            k,
            law=law,
            generator=generator,
            batch=len(student) if student.ndim == 4 else None,
            dtype=quick_dtype(student, teacher),
            device=student.device,
        )
    else:
        probes = check_probes(probes, student)
    form = "projected, order 1" if order == 1 else f"projected, {gradient}"
    return _loss([student, teacher, probes], form, reduction, check=check)


def _cheapest_form(student: Tensor, teacher: Tensor) -> str:
    """Name the exact form of order 2 with fewer multiply-adds (§4)."""
    c_student, height, width = student.shape[-3:]
    c_teacher = teacher.shape[-3]
    of_gram = c_student**2 + c_teacher**2 + c_student * c_teacher
    return "gram" if of_gram <= height * width * (c_student + c_teacher) else "direct"


def _loss(inputs: list[Tensor], form: str, reduction: str, *, check: bool) -> Tensor:
    """Bring the teacher to the student's size, compute the values, reduce."""
    check_choice(reduction, "reduction", ("mean", "sum", "none"))
    student, teacher, *probes = inputs
    maps, reference = (m if m.ndim == 4 else m.unsqueeze(0) for m in (student, teacher))
    if reference.shape[2:] != maps.shape[2:]:
        reference = _resized(reference, maps, check=check)
    static = is_static(student.device)
    values = affinity_values([maps, reference, *probes], form, is_static=static)
    if student.ndim == 3:
        loss = values[0]
    elif reduction == "none":
        loss = values
    else:
        loss = values.mean() if reduction == "mean" else values.sum()
    loss = loss.to(quick_dtype(student, teacher))
    if check and not torch.isfinite(loss.detach()).all():
        _refuse(inputs)
    return loss


def _resized(teacher: Tensor, student: Tensor, *, check: bool) -> Tensor:
    """Resize a teacher; NaN in pixels that shrinking does not read is refused or spread."""
    if check:
        check_finite(teacher, "teacher")
    else:
        finite = teacher.isfinite().flatten(1).all(1)[:, None, None, None]
        teacher = teacher.masked_fill(~finite, torch.nan)
    teacher = teacher.to(accumulation_dtype(teacher.device))
    return interpolate(teacher, size=student.shape[2:], mode="bilinear", align_corners=True)


def _refuse(inputs: list[Tensor]) -> NoReturn:
    """Name the input that made the loss NaN or infinite."""
    for tensor, name in zip(inputs, ("student", "teacher", "probes"), strict=False):
        check_finite(tensor, name)
    raise ValueError(
        "probes are so large that the loss overflows; entries of unit variance are accepted: "
        "draw them with sample_probes."
    )
