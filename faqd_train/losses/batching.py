"""FA and FFA of a batch of maps in cache-sized pieces: values first, gradients later from little.

Forward reads the maps once and keeps their pixels' norms and one small matrix a sample. Backward
normalises the maps again, piece by piece, and writes the gradient: cheaper than normalised copies
or a gradient kept in between, which are large, new and out of the cache.

All is computed in float32 unless a map is float64. A sample whose digits that does not give (§5)
is done again with care: in float64, without squares of extreme norms, by the spectrum form.

Off the CPU, choosing samples would make the host wait for the device. There the static path
computes all samples with care, and branches on nothing that the device would have to be asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from faqd_train.losses import forms as _affinity
from faqd_train.losses.forms import Form, accumulation_dtype

# Entries of both maps in a piece: at most 2 MiB of float32, what two cores' second caches hold, and
# at least 512 KiB, so that it is worth its calls.
PIECE, SMALL_PIECE = 2**19, 2**17
# Squared pixel norms within 2^±these neither overflow nor lose digits.
SAFE_EXPONENTS = {torch.float32: 100, torch.float64: 900}


class Forward(NamedTuple):
    """Values (B,) of the loss, in float64, and what `backward` needs.

    The static path leaves the verdicts and the scales empty.
    """

    values: Tensor
    trusted: Tensor  # (B,), bool
    student_scale: Tensor  # (B, 1, N): 1/‖F_i‖, 0 at dead pixels
    teacher_scale: Tensor
    core: Tensor  # as in `_affinity.Totals`


def is_static(device: torch.device) -> bool:
    """Whether the static path is taken: on devices to be waited for, if they have float64."""
    return device.type not in ("cpu", "mps")


def static_forward(student: Tensor, teacher: Tensor, z: Tensor | None, form: Form) -> Forward:
    """Compute `forward` without asking the device: no sample is treated by what it holds.

    All is computed in float64, of well scaled unit pixels. What remains is Gram's cancellation,
    an absolute error of the value of about u·s/N², at most 1e-15, with u = 2⁻⁵³.
    """
    x, y = unit_pixels(student.flatten(2))[0], unit_pixels(teacher.flatten(2))[0]
    parts = _affinity.parts(x, y, _probes_of(z, slice(None), x.dtype), form)
    values, _, core = _affinity.totals(parts, x.shape[-1], x.dtype, form)
    values = values.clamp(min=0) / x.shape[-1] ** 2
    verdicts = values.new_empty(0, dtype=torch.bool)
    return Forward(values, verdicts, values.new_empty(0), values.new_empty(0), core)


def static_backward(
    outer: Tensor, student: Tensor, teacher: Tensor, z: Tensor | None, form: Form, core: Tensor
) -> Tensor:
    """Compute `backward` of `static_forward`, of which it needs the core."""
    result = torch.empty_like(student, memory_format=layout_of(student))
    x, norms = unit_pixels(student.flatten(2))
    y = unit_pixels(teacher.flatten(2))[0] if _affinity.slope_reads_teacher(form, core) else x
    probes = _probes_of(z, slice(None), x.dtype)
    slope = _affinity.slope(x, y, probes, form, core, out=torch.empty_like(x))
    _remove_radial(slope, x, torch.empty_like(x))
    factor = _affinity.slope_factor(form, core) / x.shape[-1] ** 2
    dead = norms == 0
    slope.masked_fill_(dead, 0).mul_(factor * outer[:, None, None])
    torch.div(slope, norms.masked_fill(dead, 1), out=result.flatten(2))
    return result


def unit_pixels(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return x_i, 0 at dead pixels, and ‖F_i‖ (B, 1, N), in float64; float32's squares fit it."""
    if pixels.dtype == torch.float64:
        return careful_pixels(pixels)
    norms = torch.linalg.vector_norm(pixels, dim=1, keepdim=True, dtype=torch.float64)
    return pixels / norms.masked_fill(norms == 0, 1), norms


def forward(student: Tensor, teacher: Tensor, z: Tensor | None, form: Form) -> Forward:
    """Compute the loss of maps (B, C, H, W) of one size; probes are (N, k) or (B, N, k)."""
    student, teacher = student.flatten(2), teacher.flatten(2)
    dtype, length = quick_dtype(student, teacher), _piece_length(student, teacher)
    x, y = (_buffer(maps, length, dtype) for maps in (student, teacher))
    found = []
    for piece in _pieces(len(student), length):
        x, student_scale, safe = _normalise(student[piece], x)
        y, teacher_scale, teacher_safe = _normalise(teacher[piece], y)
        parts = _affinity.parts(x, y, _probes_of(z, piece, dtype), form)
        found.append((safe & teacher_safe, student_scale, teacher_scale, *parts))
    safe, student_scale, teacher_scale, *whole = (
        torch.cat(of_pieces) if len(found) > 1 else of_pieces[0]
        for of_pieces in zip(*found, strict=True)
    )
    values, trusted, core = _affinity.totals(tuple(whole), student.shape[-1], dtype, form)
    trusted &= safe & values.isfinite()
    result = Forward(values, trusted, student_scale, teacher_scale, core)
    if not result.trusted.all():
        again = ~result.trusted
        x, y, _ = _careful_pair(student[again], teacher[again])
        parts = _affinity.parts(x, y, _probes_of(z, again, x.dtype), form)
        totals = _affinity.totals(parts, x.shape[-1], x.dtype, form)
        cancelled = ~totals.trusted & totals.values.isfinite()
        if form.name == "gram" and cancelled.any():
            totals.values[cancelled] = _affinity.spectrum(x[cancelled], y[cancelled])
        result.values[again] = totals.values
    return result._replace(values=result.values / student.shape[-1] ** 2)


def backward(
    outer: Tensor, student: Tensor, teacher: Tensor, z: Tensor | None, form: Form, kept: Forward
) -> Tensor:
    """Compute Σ_b outer_b·∂value_b/∂F (I8, I9), in the student's dtype and layout."""
    result = torch.empty_like(student, memory_format=layout_of(student))
    flat, student, teacher = result.flatten(2), student.flatten(2), teacher.flatten(2)
    factor = _affinity.slope_factor(form, kept.core) / student.shape[-1] ** 2
    outer = factor * outer[:, None, None]
    dtype, length = quick_dtype(student, teacher), _piece_length(student, teacher)
    x, y = (_buffer(maps, length, dtype) for maps in (student, teacher))
    slope, work = torch.empty_like(x), torch.empty_like(x)
    reads_teacher = _affinity.slope_reads_teacher(form, kept.core)
    for piece in _pieces(len(student), length):
        size = len(student[piece])
        x, y, slope, work = x[:size], y[:size], slope[:size], work[:size]
        scale = kept.student_scale[piece]
        torch.mul(student[piece], scale, out=x)
        if reads_teacher:
            torch.mul(teacher[piece], kept.teacher_scale[piece], out=y)
        probes = _probes_of(z, piece, dtype)
        _affinity.slope(x, y, probes, form, kept.core[piece], out=slope)
        _remove_radial(slope, x, work)
        torch.mul(slope, outer[piece].to(dtype) * scale, out=flat[piece])
    if not kept.trusted.all():
        again = ~kept.trusted
        x, y, norms = _careful_pair(student[again], teacher[again])
        probes = _probes_of(z, again, x.dtype)
        core = _affinity.parts(x, y, probes, form)[0]
        slope = _affinity.slope(x, y, probes, form, core, out=torch.empty_like(x))
        _remove_radial(slope, x, torch.empty_like(x))
        # Where a norm is tiny, only the product with the incoming gradient is known to be in range.
        slope = outer[again] * slope.masked_fill(norms == 0, 0) / norms.masked_fill(norms == 0, 1)
        flat[again] = slope.to(flat.dtype)
    return result


def quick_dtype(student: Tensor, teacher: Tensor) -> torch.dtype:
    """float32, or float64 where a map is: what the quick pass computes in."""
    wide = torch.float64 in (student.dtype, teacher.dtype)
    return torch.float64 if wide else torch.float32


def layout_of(maps: Tensor) -> torch.memory_format:
    """How a gradient lies: as the maps do, if their pixels make one axis, else contiguously."""
    channels_last = maps.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if channels_last else torch.contiguous_format


def _piece_length(student: Tensor, teacher: Tensor) -> int:
    """Count a piece's samples: a quarter of the batch within the sizes above; off the CPU, all.

    Yet one for each thread at least, as products of matrices are shared out by samples.
    """
    batch, threads = len(student), torch.get_num_threads()
    if student.device.type != "cpu":
        return batch
    per_sample = student[0].numel() + teacher[0].numel()
    quarter = max(-(-batch // 4), SMALL_PIECE // per_sample)
    return min(max(min(quarter, PIECE // per_sample), threads), batch)


def _pieces(batch: int, length: int) -> Iterator[slice]:
    return (slice(start, start + length) for start in range(0, batch, length))


def _buffer(maps: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    """Return room for a piece of maps (B, C, N), laid out as they are.

    Taken once for all pieces: new memory costs more than what is done with it.
    """
    return torch.empty_like(maps[:length], dtype=dtype)


def _probes_of(z: Tensor | None, samples: slice | Tensor, dtype: torch.dtype) -> Tensor | None:
    if z is None:
        return None
    return (z if z.ndim == 2 else z[samples]).to(dtype)


def _normalise(pixels: Tensor, buffer: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return x_i and 1/‖F_i‖, both 0 at dead pixels, and of each sample whether they are exact."""
    x = buffer[: len(pixels)]
    wide = pixels.to(x.dtype)
    square = torch.mul(wide, wide, out=x).sum(1, keepdim=True)
    scale, limit = square.rsqrt(), 2.0 ** SAFE_EXPONENTS[x.dtype]
    smallest, largest = square.aminmax()
    if square.device.type == "cpu" and 1 / limit <= smallest.item() and largest.item() <= limit:
        safe = torch.ones(len(x), dtype=torch.bool)
    else:
        odd = ~((square >= 1 / limit) & (square <= limit))  # dead, tiny, huge or NaN
        scale.masked_fill_(odd, 0)
        dead = pixels.abs().amax(1, keepdim=True) == 0
        safe = ~(odd & ~dead).flatten(1).any(1)
    return torch.mul(wide, scale, out=x), scale, safe


def _careful_pair(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return x and y, 0 at dead pixels, and ‖F_i‖ (B, 1, N), in the widest dtype."""
    dtype = accumulation_dtype(student.device)
    x, norms = careful_pixels(student.to(dtype))
    y, _ = careful_pixels(teacher.to(dtype))
    return x, y, norms


def careful_pixels(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Divide each pixel by its largest magnitude, and then by the norm of what is left.

    So neither overflow nor underflow of the squares can turn a live pixel into a dead or an
    infinite one. NaN stays NaN.
    """
    peak = torch.linalg.vector_norm(pixels, ord=torch.inf, dim=1, keepdim=True)
    unit = pixels / peak.masked_fill(peak == 0, 1)
    scaled_norm = torch.linalg.vector_norm(unit, dim=1, keepdim=True)
    unit /= scaled_norm.masked_fill(peak == 0, 1)
    return unit, peak * scaled_norm


def _remove_radial(slope: Tensor, x: Tensor, work: Tensor) -> None:
    """Project each pixel's slope off x_i, along which the loss does not change; in place."""
    radial = torch.mul(x, slope, out=work).sum(1, keepdim=True)
    slope.addcmul_(x, radial, value=-1)
