"""The path of devices that must not be waited for, on the CPU: same results, no question asked."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from faqd_train.losses import affinity
from faqd_train.losses.affinity import fa_loss, ffa_loss, sample_probes

WAITING = {
    "aten::_local_scalar_dense",
    "aten::item",
    "aten::is_nonzero",
    "aten::nonzero",
    "aten::masked_select",
    "aten::equal",
    "aten::_to_copy to another device",
    "aten::index by a mask",
}
LOSSES = {
    "gram": partial(fa_loss, method="gram"),
    "direct": partial(fa_loss, method="direct"),
    "order 1": partial(fa_loss, order=1),
    "ffa": ffa_loss,
    "ffa order 1": partial(ffa_loss, order=1),
    "ffa one-sided": partial(ffa_loss, gradient="one-sided"),
}
ACCURACY = {torch.float64: 1e-12, torch.float32: 1e-4, torch.bfloat16: 1e-4, torch.float16: 1e-4}


class AsksNothing(TorchDispatchMode):
    """Refuses what would make the host wait for a device, and counts large results."""

    def __init__(self, size=np.inf):
        super().__init__()
        self.size, self.passes = size, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name
        if name == "aten::_to_copy" and (kwargs or {}).get("device") not in (None, args[0].device):
            name += " to another device"
        if name in ("aten::index", "aten::index_put_") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        ):
            name = "aten::index by a mask"
        if name in WAITING:
            raise RuntimeError(f"{name} asks the device")
        result = func(*args, **(kwargs or {}))
        large = isinstance(result, torch.Tensor) and result.numel() >= self.size
        self.passes += large and not (func.is_view or "empty" in name)
        return result


@pytest.fixture
def static(monkeypatch):
    """Take the CPU for such a device."""
    monkeypatch.setattr(affinity, "is_static", lambda _: True)


def maps(dtype, *, seed=0, channels=(4, 6), gap=None):
    """Draw a batch of four: ordinary maps, maps with dead pixels, tiny and huge ones."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (
        torch.randn(4, c, 5, 6, generator=generator, dtype=torch.float64) for c in channels
    )
    if gap is not None:
        teacher = student + gap * teacher
    student[1, :, 0], teacher[1, :, :, 2] = 0, 0
    large = {torch.float64: 500, torch.float16: 8}.get(dtype, 100)
    scales = 2.0 ** torch.tensor([0, 0, -large, large], dtype=torch.float64)
    return [(m * scales[:, None, None, None]).to(dtype) for m in (student, teacher)]


def with_probes(name, loss):
    if not name.startswith("ffa"):
        return loss
    generator = torch.Generator().manual_seed(1)
    return partial(loss, probes=sample_probes(30, 3, generator=generator, batch=4))


def values_and_gradient(loss, student, teacher, **options):
    student = student.clone().requires_grad_()
    values = loss(student, teacher, reduction="none", check=False, **options)
    values.sum().backward()
    return values.detach(), student.grad


def assert_agree(found, expected, student, accuracy):
    """Compare values relatively, ‖F_i‖·g_i relative to the largest of the sample."""
    torch.testing.assert_close(found[0], expected[0], rtol=accuracy, atol=0)
    norms = torch.linalg.vector_norm(student.double(), dim=1, keepdim=True)
    ours, theirs = (norms * result[1].double() for result in (found, expected))
    largest = theirs.abs().amax((1, 2, 3))
    error = (ours - theirs).abs().amax((1, 2, 3))
    rounding = torch.finfo(student.dtype).eps  # of the gradient's own dtype
    assert (error <= (accuracy + rounding) * largest).all(), (error / largest, accuracy)


@pytest.mark.parametrize("dtype", ACCURACY)
@pytest.mark.parametrize("name", LOSSES)
def test_static_path_gives_the_results_of_the_cpu_and_asks_nothing(name, dtype, monkeypatch):
    student, teacher = maps(dtype)
    loss = with_probes(name, LOSSES[name])
    expected = values_and_gradient(loss, student, teacher)
    monkeypatch.setattr(affinity, "is_static", lambda _: True)
    with AsksNothing():
        found = values_and_gradient(loss, student, teacher)
    assert_agree(found, expected, student, ACCURACY[dtype])
    assert (found[1].movedim(1, -1)[(student == 0).all(1)] == 0).all()
    wrong = found[0] * (1 + 3 * ACCURACY[dtype]), found[1]
    with pytest.raises(AssertionError):
        assert_agree(wrong, expected, student, ACCURACY[dtype])


@pytest.mark.parametrize("gap", [1e-2, 1e-4])
@pytest.mark.parametrize("name", LOSSES)
def test_static_path_keeps_the_promise_for_nearly_equal_maps(name, gap, monkeypatch):
    student, teacher = maps(torch.float32, channels=(4, 4), gap=gap)
    loss = with_probes(name, LOSSES[name])
    expected = values_and_gradient(loss, student.double(), teacher.double())
    monkeypatch.setattr(affinity, "is_static", lambda _: True)
    values, gradient = values_and_gradient(loss, student, teacher)
    assert_agree((values.double(), gradient), expected, student, 1e-4)


@pytest.mark.usefixtures("static")
def test_what_gram_loses_there_is_absolute_and_never_negative():
    """Equal affinities of 50 pairs of maps: an error of at most 1e-15, and direct is at 1e-30."""
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(50, 8, 16, 16, generator=generator)
    values = fa_loss(student, 2 * student.flip(1), method="gram", reduction="none")
    assert (values >= 0).all()
    assert values.max() <= 1e-15
    assert fa_loss(student, 2 * student.flip(1), method="direct") <= 1e-30


@pytest.mark.usefixtures("static")
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", LOSSES)
def test_nan_and_infinity_stay_in_their_sample(name, bad):
    student, teacher = maps(torch.float32)
    loss = with_probes(name, LOSSES[name])
    for tensor in (student, teacher):
        kept = tensor[2, 1, 3, 3].clone()
        tensor[2, 1, 3, 3] = bad
        with AsksNothing():
            values = loss(student, teacher, reduction="none", check=False)
        assert values.isnan().tolist() == [False, False, True, False]
        tensor[2, 1, 3, 3] = kept


@pytest.mark.parametrize("device", ["cpu", "static"])
def test_unchecked_nan_that_resizing_skips_reaches_the_value(device, monkeypatch):
    monkeypatch.setattr(affinity, "is_static", lambda _: device == "static")
    student, teacher = torch.ones(2, 3, 2, 2), torch.ones(2, 3, 9, 9)
    teacher[1, 0, 1, 1] = torch.nan
    with AsksNothing() if device == "static" else torch.no_grad():
        values = fa_loss(student, teacher, reduction="none", check=False)
    assert values.isnan().tolist() == [False, True]


@pytest.mark.usefixtures("static")
@pytest.mark.parametrize("law", ["gaussian", "rademacher", "sphere", "orthogonal"])
def test_probes_drawn_on_the_maps_device_ask_nothing(law):
    student, teacher = maps(torch.float32)
    generator = torch.Generator().manual_seed(0)
    with AsksNothing():
        values_and_gradient(ffa_loss, student, teacher, k=3, law=law, generator=generator)


@pytest.mark.parametrize("question", ["item", "bool", "mask", "nonzero", "copy"])
def test_questions_are_noticed(question):
    values = torch.ones(3)
    asked = {
        "item": lambda: values[0].item(),
        "bool": lambda: bool((values > 0).all()),
        "mask": lambda: values[values > 0],
        "nonzero": lambda: values.nonzero(),
        "copy": lambda: values.to("meta"),
    }[question]
    with pytest.raises(RuntimeError, match="asks the device"), AsksNothing():
        asked()


@pytest.mark.parametrize("name", LOSSES)
def test_maps_of_another_device_take_the_static_path(name):
    """Meta tensors have no data: any question for it raises."""
    student, teacher = torch.empty(2, 8, 3, 5, 5, device="meta").unbind()
    options = {"probes": torch.empty(25, 2, device="meta")} if "ffa" in name else {}
    with AsksNothing():
        values, gradient = values_and_gradient(LOSSES[name], student, teacher, **options)
    assert values.device.type == gradient.device.type == "meta"


@pytest.mark.usefixtures("static")
@pytest.mark.parametrize("name", ["gram", "ffa", "ffa one-sided"])
def test_static_path_makes_few_passes(name):
    student, teacher = torch.randn(2, 2, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    options = {"probes": torch.ones(64, 3)} if "ffa" in name else {}
    with AsksNothing(size=student.numel()) as mode:
        values_and_gradient(LOSSES[name], student, teacher, **options)
    assert 8 <= mode.passes <= 20
