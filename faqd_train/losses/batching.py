"""FA and FFA of a batch of maps in cache-sized pieces: values first, gradients later from little.

Forward reads the maps once and keeps their pixels' norms and one small matrix for each sample.
Backward normalises the maps again, piece by piece, and writes the gradient: cheaper than normalised
copies or a gradient kept in between, which are large, new and out of the cache.

All is computed in float32 unless a map is float64. A sample whose digits that does not give (§5)
is computed again with care: in float64, without squares of extreme norms, by the spectrum.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from faqd_train.losses import pixels as unit
from faqd_train.losses.forms import Form, Pixels, accumulation_dtype, joined
from faqd_train.losses.pixels import Maps

# Entries of both maps in a piece: at most 2 MiB of float32, what two cores' second caches hold, and
# at least 512 KiB, so that it is worth its calls.
PIECE, SMALL_PIECE = 2**19, 2**17


def forward(maps: Maps, form: Form) -> tuple[Tensor, list[Tensor]]:
    """Compute the totals (B,), and what `backward` needs.

    That is whether each sample is accurate, 1/‖F_i‖ (B, 1, N) of both maps, and the form's own.
    """
    normalised = []

    def unit_pieces() -> Iterator[Pixels]:
        pieces = _pieces(maps)
        x, y = _buffers(maps, pieces[0])
        for piece in pieces:
            pixels, scales = _unit_piece(maps, piece, x, y)
            normalised.append(scales)
            yield pixels

    values, accurate, saved = form.measure(unit_pieces())
    safe, *scales = joined(normalised)
    trusted = accurate & safe & values.isfinite()
    if not trusted.all():
        values[~trusted] = _careful_values(maps, form, ~trusted)
    return values, [trusted, *scales, saved]


def backward(outer: Tensor, maps: Maps, form: Form, kept: list[Tensor], out: Tensor) -> None:
    """Put the gradient of Σ_b outer_b·total_b/factor by the student (I8, I9) into out (B, C, N)."""
    trusted, student_scale, teacher_scale, saved = kept
    pieces = _pieces(maps)
    x, y = _buffers(maps, pieces[0])
    slope, work = torch.empty_like(x), torch.empty_like(x)
    for piece in pieces:
        size = len(maps.student[piece])
        x, y, slope, work = x[:size], y[:size], slope[:size], work[:size]
        scale = student_scale[piece]
        torch.mul(maps.student[piece], scale, out=x)
        teacher = partial(_scaled, maps.teacher, teacher_scale, piece, y)
        form.slope(Pixels(x, teacher, maps.probes_of(piece, x)), saved[piece], slope)
        unit.remove_radial(slope, x, work)
        torch.mul(slope, outer[piece].to(x.dtype) * scale, out=out[piece])
    if not trusted.all():
        pixels, norms = _careful(maps, ~trusted)
        x = pixels.student
        slope = form.slope(pixels, form.measure([pixels]).saved, torch.empty_like(x))
        out[~trusted] = unit.by_features(slope, x, norms, outer[~trusted]).to(out.dtype)


def quick_dtype(student: Tensor, teacher: Tensor) -> torch.dtype:
    """float32, or float64 where a map is: what the quick pass computes in."""
    wide = torch.float64 in (student.dtype, teacher.dtype)
    return torch.float64 if wide else torch.float32


def _pieces(maps: Maps) -> list[slice]:
    """Cut the batch into quarters within the sizes above; off the CPU, not at all.

    A piece has one sample for each thread at least, as these share products out by samples.
    """
    batch, length = len(maps.student), len(maps.student)
    if maps.student.device.type == "cpu":
        per_sample = maps.student.shape[1:].numel() + maps.teacher.shape[1:].numel()
        quarter = max(-(-batch // 4), SMALL_PIECE // per_sample)
        length = min(max(min(quarter, PIECE // per_sample), torch.get_num_threads()), batch)
    return [slice(start, start + length) for start in range(0, batch, length)]


def _buffers(maps: Maps, first: slice) -> list[Tensor]:
    """Return room for a piece of either map, the first being the longest, laid out as it is.

    Taken once for all pieces: new memory costs more than what is done with it.
    """
    dtype = quick_dtype(maps.student, maps.teacher)
    return [torch.empty_like(m[first], dtype=dtype) for m in (maps.student, maps.teacher)]


def _unit_piece(
    maps: Maps, piece: slice, x: Tensor, y: Tensor
) -> tuple[Pixels, tuple[Tensor, Tensor, Tensor]]:
    """Return unit pixels in the buffers x and y, whether they are exact, and both scales."""
    x, student_scale, safe = unit.scaled_pixels(maps.student[piece], x)
    y, teacher_scale, teacher_safe = unit.scaled_pixels(maps.teacher[piece], y)
    pixels = Pixels(x, lambda: y, maps.probes_of(piece, x))
    return pixels, (safe & teacher_safe, student_scale, teacher_scale)


def _scaled(pixels: Tensor, scale: Tensor, piece: slice, out: Tensor) -> Tensor:
    return torch.mul(pixels[piece], scale[piece], out=out)


def _careful(maps: Maps, samples: Tensor) -> tuple[Pixels, Tensor]:
    """Return unit pixels of some samples and the student's ‖F_i‖ (B, 1, N), in the widest dtype."""
    dtype = accumulation_dtype(maps.student.device)
    x, norms = unit.careful_pixels(maps.student[samples].to(dtype))
    y, _ = unit.careful_pixels(maps.teacher[samples].to(dtype))
    return Pixels(x, lambda: y, maps.probes_of(samples, x)), norms


def _careful_values(maps: Maps, form: Form, samples: Tensor) -> Tensor:
    pixels, _ = _careful(maps, samples)
    values, accurate, _ = form.measure([pixels])
    cancelled = ~accurate & values.isfinite()
    if form.careful_values and cancelled.any():
        x, y = pixels.student[cancelled], pixels.teacher()[cancelled]
        values[cancelled] = form.careful_values(x, y)
    return values
