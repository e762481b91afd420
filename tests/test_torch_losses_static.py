"""The path of devices that must not be waited for, on the CPU: same results, no question asked."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch_losses import EXACT, FAST, NAMES, draw_maps, loss_named, values_and_gradient

from faqd_train.losses import affinity
from faqd_train.losses.affinity import fa_loss, ffa_loss
from faqd_train.losses.probes import PROBE_LAWS

WAITING = {
    "aten::_local_scalar_dense",
    "aten::item",
    "aten::is_nonzero",
    "aten::nonzero",
    "aten::masked_select",
    "aten::equal",
}
ACCURACY = {torch.float64: 1e-12, torch.float32: 1e-4, torch.bfloat16: 1e-4, torch.float16: 1e-4}


class AsksNothing(TorchDispatchMode):
    """Refuses what would make the host wait for a device, and counts results of a size."""

    def __init__(self, size=np.inf):
        super().__init__()
        self.size, self.passes = size, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name, kwargs = func._schema.name, kwargs or {}
        copies = name == "aten::_to_copy" and kwargs.get("device") not in (None, args[0].device)
        masks = name in ("aten::index", "aten::index_put_") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if name in WAITING or copies or masks:
            raise RuntimeError(f"{name} asks the device")
        result = func(*args, **kwargs)
        large = isinstance(result, torch.Tensor) and result.numel() >= self.size
        self.passes += large and not (func.is_view or "empty" in name)
        return result


@pytest.fixture
def static(monkeypatch):
    """Take the CPU for such a device."""
    monkeypatch.setattr(affinity, "is_static", lambda _: True)


def draw_batch(dtype, *, gap=None):
    """Draw a batch of four: ordinary maps, maps with dead pixels, tiny and huge ones."""
    student, teacher = draw_maps(4, 6, 5, 6)
    teacher = teacher[:, :4] if gap is None else student + gap * teacher
    student[1, :, 0], teacher[1, :, :, 2] = 0, 0
    large = {torch.float64: 500, torch.float16: 8}.get(dtype, 100)
    scales = 2.0 ** torch.tensor([0, 0, -large, large], dtype=torch.float64)
    return [(m * scales[:, None, None, None]).to(dtype) for m in (student, teacher)]


def assert_agree(found, expected, student, accuracy):
    """Compare values relatively, ‖F_i‖·g_i relative to the largest of the sample."""
    torch.testing.assert_close(found[0].double(), expected[0].double(), rtol=accuracy, atol=0)
    norms = torch.linalg.vector_norm(student.double(), dim=1, keepdim=True)
    ours, theirs = (norms * result[1].double() for result in (found, expected))
    allowed = (accuracy + torch.finfo(student.dtype).eps) * theirs.abs().amax((1, 2, 3))
    if not ((ours - theirs).abs().amax((1, 2, 3)) <= allowed).all():
        raise AssertionError(f"gradients: {ours} against {theirs}")


@pytest.mark.parametrize("dtype", ACCURACY)
@pytest.mark.parametrize("name", NAMES)
def test_static_path_gives_the_results_of_the_cpu_and_asks_nothing(name, dtype, monkeypatch):
    student, teacher = draw_batch(dtype)
    loss = loss_named(name, 30, batch=4)
    expected = values_and_gradient(loss, student, teacher)
    monkeypatch.setattr(affinity, "is_static", lambda _: True)
    with AsksNothing():
        found = values_and_gradient(loss, student, teacher, check=False)
    assert_agree(found, expected, student, ACCURACY[dtype])
    assert (found[1].movedim(1, -1)[(student == 0).all(1)] == 0).all()
    for planted in [(found[0] * (1 + 3 * ACCURACY[dtype]), found[1]), (found[0], 1.1 * found[1])]:
        with pytest.raises(AssertionError):
            assert_agree(planted, expected, student, ACCURACY[dtype])


@pytest.mark.parametrize("gap", [1e-2, 1e-4])
@pytest.mark.parametrize("name", NAMES)
def test_static_path_keeps_the_promise_for_nearly_equal_maps(name, gap, monkeypatch):
    student, teacher = draw_batch(torch.float32, gap=gap)
    loss = loss_named(name, 30, batch=4)
    expected = values_and_gradient(loss, student.double(), teacher.double())
    monkeypatch.setattr(affinity, "is_static", lambda _: True)
    assert_agree(values_and_gradient(loss, student, teacher), expected, student, 1e-4)


@pytest.mark.usefixtures("static")
def test_what_gram_loses_there_is_absolute_and_never_negative():
    """Equal affinities of 50 pairs of maps: an error of at most 1e-15, and direct is at 1e-30."""
    student, _ = draw_maps(50, 8, 16, 16, dtype=torch.float32)
    values = fa_loss(student, 2 * student.flip(1), method="gram", reduction="none")
    assert (values >= 0).all()
    assert values.max() <= 1e-15
    assert fa_loss(student, 2 * student.flip(1), method="direct") <= 1e-30


@pytest.mark.usefixtures("static")
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("of", [0, 1], ids=["student", "teacher"])
def test_nan_and_infinity_stay_in_their_sample(name, bad, of):
    maps = draw_batch(torch.float32)
    maps[of][2, 1, 3, 3] = bad
    with AsksNothing():
        values = loss_named(name, 30)(*maps, reduction="none", check=False)
    assert values.isnan().tolist() == [False, False, True, False]


@pytest.mark.parametrize("is_static", [False, True])
def test_unchecked_nan_that_resizing_skips_reaches_the_value(is_static, monkeypatch):
    monkeypatch.setattr(affinity, "is_static", lambda _: is_static)
    student, teacher = torch.ones(2, 3, 2, 2), torch.ones(2, 3, 9, 9)
    teacher[1, 0, 1, 1] = torch.nan
    with AsksNothing() if is_static else torch.no_grad():
        values = fa_loss(student, teacher, reduction="none", check=False)
    assert values.isnan().tolist() == [False, True]


@pytest.mark.usefixtures("static")
@pytest.mark.parametrize("law", PROBE_LAWS)
def test_probes_drawn_on_the_maps_device_ask_nothing(law):
    options = {"k": 3, "law": law, "generator": torch.Generator().manual_seed(0), "check": False}
    with AsksNothing():
        values_and_gradient(ffa_loss, *draw_batch(torch.float32), **options)


@pytest.mark.parametrize(
    "question",
    [
        lambda values: values[0].item(),
        lambda values: bool((values > 0).all()),
        lambda values: values[values > 0],
        lambda values: values.nonzero(),
        lambda values: values.to("meta"),
    ],
)
def test_questions_are_noticed(question):
    with pytest.raises(RuntimeError, match="asks the device"), AsksNothing():
        question(torch.ones(3))


@pytest.mark.parametrize("name", NAMES)
def test_maps_of_another_device_take_the_static_path_in_few_passes(name):
    """Meta tensors have no data: any question for it raises."""
    student, teacher = torch.empty(2, 8, 16, 8, 8, device="meta").unbind()
    options = {"probes": torch.empty(64, 2, device="meta")} if "ffa" in name else {}
    with AsksNothing(size=student.numel()) as mode:
        values, gradient = values_and_gradient(
            (EXACT | FAST)[name], student, teacher, check=False, **options
        )
    assert values.device.type == gradient.device.type == "meta"
    assert 8 <= mode.passes <= 25


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
@pytest.mark.parametrize("name", NAMES)
def test_a_cuda_graph_of_loss_and_gradient_replays_with_other_maps(name):
    student, teacher = (maps.cuda() for maps in draw_maps(8, 16, 8, 8))
    other = draw_maps(8, 16, 8, 8, seed=1)
    options = {"probes": draw_maps(64, 5)[0].cuda()} if "ffa" in name else {}
    loss, stream, graph = (EXACT | FAST)[name], torch.cuda.Stream(), torch.cuda.CUDAGraph()
    student.requires_grad_()

    def step():
        value = loss(student, teacher, check=False, **options)
        return value, *torch.autograd.grad(value, student)

    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # the libraries are loaded before the capture
        step()
    torch.cuda.current_stream().wait_stream(stream)
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        student.copy_(other[0])
        teacher.copy_(other[1])
    graph.replay()
    for ours, theirs in zip(captured, step(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)
