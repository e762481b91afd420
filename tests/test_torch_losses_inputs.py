"""Bad input of the torch losses: one sentence each, and never NaN out."""

from functools import partial

import numpy as np
import pytest
import torch
from torch_losses import NAMES, loss_named

from faqd_train.losses.affinity import fa_loss, ffa_loss

MAPS = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
PROBES = torch.ones(16, 2)
LOSSES = {"fa": fa_loss, "ffa": partial(ffa_loss, probes=PROBES)}


def with_entry(maps, value):
    maps = maps.clone()
    maps.view(-1)[-1] = value
    return maps


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("student", "teacher", "error", "message"),
    [
        (MAPS.numpy(), MAPS, TypeError, "student is a ndarray; a torch tensor is accepted"),
        (MAPS, None, TypeError, "teacher is a NoneType; a torch tensor is accepted"),
        (MAPS.int(), MAPS, TypeError, r"student has dtype torch\.int32; float64, float32"),
        (MAPS, MAPS.to(torch.complex64), TypeError, r"teacher has dtype torch\.complex64"),
        (
            MAPS.to_sparse(),
            MAPS,
            TypeError,
            r"student has layout torch\.sparse_coo; dense tensors \(torch\.strided\) are accepted",
        ),
        (MAPS, MAPS.to_mkldnn(), TypeError, r"teacher has layout torch\._mkldnn; dense tensors"),
        (MAPS[0, 0], MAPS, ValueError, r"student has shape \(4, 4\); \(C, H, W\) or"),
        (MAPS[:0], MAPS[:0], ValueError, r"student has shape \(0, 3, 4, 4\), which is empty"),
        (MAPS, MAPS[..., :0], ValueError, r"teacher has shape \(2, 3, 4, 0\), which is empty"),
        (MAPS, MAPS[:1], ValueError, r"teacher \(1, 3, 4, 4\); both must be single maps or"),
        (MAPS[:1], MAPS[0], ValueError, r"teacher \(3, 4, 4\); both must be single maps or"),
        (MAPS, MAPS.to("meta"), ValueError, "teacher is on meta and student on cpu; one device"),
        (
            MAPS,
            MAPS.clone().requires_grad_(),
            ValueError,
            r"teacher requires a gradient, .* pass teacher\.detach\(\)",
        ),
    ],
)
def test_bad_maps_are_refused(loss, student, teacher, error, message):
    with pytest.raises(error, match=message):
        LOSSES[loss](student, teacher)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("bad", ["student", "teacher"])
def test_nan_and_infinity_are_refused_by_name_or_unchecked_give_nan(name, value, bad):
    loss, maps = loss_named(name, 16), {"student": MAPS, "teacher": MAPS.flip(3)}
    assert loss(**maps, check=False) == loss(**maps) > 0
    maps[bad] = with_entry(maps[bad], value)
    for reduction in ("mean", "sum", "none"):
        with pytest.raises(ValueError, match=f"{bad} holds 1 entries that are NaN or infinite"):
            loss(**maps, reduction=reduction)
    assert loss(**maps, check=False).isnan()


def test_nan_in_an_otherwise_dead_pixel_is_refused():
    student = torch.zeros(3, 4, 4)
    with pytest.raises(ValueError, match="student holds 1 entries"):
        fa_loss(with_entry(student, torch.nan), MAPS[0])


def test_nan_is_refused_even_where_resizing_would_skip_it():
    teacher = torch.ones(3, 9, 9)
    teacher[0, 1, 1] = torch.nan
    with pytest.raises(ValueError, match="teacher holds 1 entries"):
        fa_loss(torch.ones(3, 2, 2), teacher)


@pytest.mark.parametrize(
    ("loss", "options", "message"),
    [
        ("fa", {"order": 3}, "order is 3; accepted are 1, 2"),
        ("ffa", {"order": 3}, "order is 3; accepted are 1, 2"),
        ("fa", {"reduction": "max"}, "reduction is 'max'; accepted are 'mean', 'sum', 'none'"),
        ("ffa", {"reduction": "max"}, "reduction is 'max'; accepted are 'mean', 'sum', 'none'"),
        ("fa", {"method": "fast"}, "method is 'fast'; accepted are 'auto', 'gram', 'direct'"),
        (
            "fa",
            {"method": "gram", "order": 1},
            "method is 'gram' with order 1, which only 'direct'",
        ),
        ("ffa", {"gradient": "both"}, "gradient is 'both'; accepted are 'paper', 'one-sided'"),
        ("ffa", {"gradient": "one-sided", "order": 1}, "gradient is 'one-sided' with order 1, for"),
    ],
)
def test_options_that_do_not_exist_are_refused(loss, options, message):
    with pytest.raises(ValueError, match=message):
        LOSSES[loss](MAPS, MAPS, **options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "neither of generator and probes were given; one"),
        (
            {"probes": PROBES, "generator": torch.Generator()},
            ValueError,
            "both of generator and probes were given; one",
        ),
        ({"generator": 0}, TypeError, r"generator is a int; a torch\.Generator is accepted"),
        (
            {"generator": np.random.default_rng(0)},
            TypeError,
            r"generator is a Generator; a torch\.Generator is accepted",
        ),
        ({"generator": torch.Generator(), "k": 0}, ValueError, "k is 0; an integer of at least 1"),
        ({"generator": torch.Generator(), "law": "x"}, ValueError, "law is 'x'; accepted are"),
        (
            {"generator": torch.Generator(), "law": "orthogonal", "k": 17},
            ValueError,
            "k is 17, but orthogonal probes of 16 pixels allow k <= 16",
        ),
        ({"probes": PROBES.to_sparse()}, TypeError, r"probes has layout torch\.sparse_coo; dense"),
        ({"probes": PROBES.int()}, TypeError, r"probes has dtype torch\.int32"),
        ({"probes": PROBES[:4]}, ValueError, r"probes has shape \(4, 2\), but the student has 16"),
        ({"probes": PROBES[:, :0]}, ValueError, r"probes has shape \(16, 0\), but"),
        ({"probes": PROBES[:, 0]}, ValueError, r"probes has shape \(16,\), but"),
        ({"probes": PROBES.expand(3, 16, 2)}, ValueError, r"probes has shape \(3, 16, 2\), but"),
        ({"probes": PROBES.to("meta")}, ValueError, "probes is on meta and student on cpu"),
        (
            {"probes": PROBES.clone().requires_grad_()},
            ValueError,
            "probes requires a gradient, but the loss differentiates the student only",
        ),
        ({"probes": with_entry(PROBES, torch.nan)}, ValueError, "probes holds 1 entries that are"),
        ({"probes": PROBES * 1e30}, ValueError, "probes are so large that the loss overflows"),
    ],
)
def test_bad_probes_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        ffa_loss(MAPS, MAPS.flip(3), **options)


def test_a_teacher_that_requires_a_gradient_is_accepted_without_grad_mode():
    teacher = MAPS.clone().requires_grad_()
    with torch.no_grad():
        assert torch.equal(fa_loss(MAPS.flip(3), teacher), fa_loss(MAPS.flip(3), MAPS))
