"""Passes by torch.compile give what plain passes give, and leave nothing behind."""

import copy
from functools import partial

import pytest
import torch
from networks import compiler_needed, images, small_resnet
from tiny_runs import tiny, train, training
from torch._dynamo.utils import counters

from faqd_train import load_config
from faqd_train.networks.taps import tapped
from faqd_train.quantization.activations import calibrate
from faqd_train.quantization.model import quantize_model
from faqd_train.training import distributed, update
from faqd_train.training import teacher as teacher_pass
from faqd_train.training.compiling import check_compiling, compiled
from faqd_train.training.loop import fit
from faqd_train.training.teacher import TeacherPass, make_teacher_pass

# Of torch, by torch, as it compiles.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
CPU = torch.device("cpu")
TAPS = ["stem.1", "stage1", "stage3"]
BACKENDS = [
    "aot_eager",  # traces as the other does, and compiles nothing
    pytest.param("inductor", marks=[compiler_needed, pytest.mark.slow]),
]


@pytest.fixture(autouse=True)
def _nothing_compiled_is_left():
    yield
    torch.compiler.reset()


def student_and_inputs(projection, activation_bits):
    """Return a small student in float64, where no rounding moves an activation to another level."""
    student, inputs = small_resnet(dtype=torch.float64), images(dtype=torch.float64)
    student.stem[2].inplace = True  # the ReLU overwrites what a tap reads, unless it is quantized
    quantize_model(student, 4, activation_bits, projection=projection)
    calibrate(student, inputs)
    return student, inputs


def passes(student, inputs):
    """Return logits, maps and all gradients of one training pass, and the state that it leaves."""
    student.train()
    with tapped(student, TAPS) as maps:
        logits = student(inputs)
        (logits.square().mean() + sum(maps[tap].square().mean() for tap in TAPS)).backward()
    found = {"logits": logits, **maps, **student.state_dict()}
    return found | {f"gradient of {name}": p.grad for name, p in student.named_parameters()}


@pytest.mark.parametrize(
    ("projection", "activation_bits"), [("exact", 4), ("alternating", 4), ("exact", 32)]
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_compiled_passes_are_the_plain_ones_to_rounding(projection, activation_bits, backend):
    student, inputs = student_and_inputs(projection, activation_bits)
    expected, before = passes(copy.deepcopy(student), inputs), set(vars(student))
    context = compiled(student, CPU, backend=backend)
    counters.clear()
    with context():
        found = passes(student, inputs)
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        # Eight layers, each within 1e-14 of sums of some hundred terms.
        torch.testing.assert_close(found[name], value, rtol=1e-12, atol=1e-12)
    assert set(vars(student)) == before


def test_one_graph_serves_all_passes_of_a_tapped_network():
    student, inputs = student_and_inputs("alternating", 4)
    context = compiled(student.train(), CPU, backend="aot_eager")
    counters.clear()
    with tapped(student, TAPS) as maps, context():
        for _ in range(3):
            student(inputs)
            assert maps.keys() == set(TAPS)
    assert counters["stats"]["unique_graphs"] == 1


def test_networks_of_one_class_keep_their_own_taps():
    """Torch lets them share what it compiled."""
    untapped, network, inputs = small_resnet(0), small_resnet(1), images()
    with compiled(untapped, CPU, backend="aot_eager")():
        untapped(inputs)
    with tapped(network, TAPS) as maps, compiled(network, CPU, backend="aot_eager")():
        network(inputs)
    assert maps.keys() == set(TAPS)


def test_a_teacher_tapped_later_gives_the_maps_of_its_pass():
    network = small_resnet()
    context = compiled(network, CPU, backend="aot_eager")
    with TeacherPass(network, compiling=context) as teacher:
        teacher("first batch", lambda: images(0), None)
        teacher.tap(["stage1"])
        network(images(1))  # somebody else's pass, which fills the tap
        _, (_, maps) = teacher("second batch", lambda: images(2), None)
        with tapped(network, ["stage1"]) as expected:
            network(images(2))
        torch.testing.assert_close(maps["stage1"], expected["stage1"])


def test_networks_of_many_kinds_are_compiled_in_one_process():
    """More of them than torch compiles by itself before it gives up."""
    check_compiling(CPU, backend="aot_eager")  # compiles a graph itself
    counters.clear()
    for width in range(1, 11):
        layer = torch.nn.Module()
        layer.forward = partial(scaled, torch.ones(width))
        with compiled(layer, CPU, backend="aot_eager")():
            assert layer(torch.ones(width)).tolist() == [1] * width
    assert counters["stats"]["unique_graphs"] >= 10


def scaled(scale, inputs):
    return inputs * scale


def test_a_forward_of_one_s_own_is_put_back():
    network = torch.nn.Identity()
    own = network.forward = partial(torch.add, 1)
    with compiled(network, CPU, backend="aot_eager")():
        assert network.forward is not own
        assert network(torch.ones(2)).tolist() == [2, 2]
    assert network.forward is own


@pytest.mark.slow
@compiler_needed
def test_a_compiled_run_learns_what_a_plain_one_learns(teacher, tmp_path):
    plain, fast = (
        train(tmp_path / compile, "optimizer.epochs=1", f"run.compile={compile}", name="digits-fa",
              teacher=teacher)
        for compile in ("false", "true")
    )  # fmt: skip
    assert fast["config"]["run"]["compile"] is True
    # One step's rounding can move an activation to the next of 15 levels, in one of many pixels.
    assert fast["epochs"][0]["loss"] == pytest.approx(plain["epochs"][0]["loss"], rel=1e-3)


class Losing(torch.autograd.Function):
    """The identity, of which a compiler has lost the derivative."""

    @staticmethod
    def forward(_ctx, values):
        return values.clone()

    @staticmethod
    def backward(_ctx, gradient):
        return torch.zeros_like(gradient)


@pytest.mark.parametrize("loses", [False, True])
def test_a_compiled_network_that_loses_a_derivative_is_refused(loses, monkeypatch):
    """Before the first step; one that loses none trains as without compiling."""

    def compiling(network, device):
        def forgets(_module, _inputs, output):
            return Losing.apply(output) if torch.compiler.is_compiling() else output

        if loses:
            network.stage2.register_forward_hook(forgets)
        return compiled(network, device, backend="aot_eager")

    monkeypatch.setattr(update, "compiled", compiling)
    labels, students = torch.arange(50) % 10, {}
    for compile in ("false", "true"):
        config, network = tiny("digits-float", f"run.compile={compile}"), small_resnet().double()
        students[compile] = network
        learning = training(config, network, images(count=50).double(), labels=labels)
        if compile == "true" and loses:
            with pytest.raises(
                ValueError, match=r"gradient of the compiled network is off by \d+% with torch"
            ):
                fit(learning)
            assert learning.position == (1, 0)
            return
        fit(learning)
    expected = students["false"].state_dict()
    for name, values in students["true"].state_dict().items():
        torch.testing.assert_close(values, expected[name], rtol=1e-9, atol=1e-12)


def test_without_a_compiler_a_run_is_refused(monkeypatch):
    def compile(*_arguments, **_options):
        raise RuntimeError("No working C++ compiler found.\nA long story.")

    monkeypatch.setattr(torch, "compile", compile)
    with pytest.raises(ValueError, match=r"compiler found\. .* is needed: install"):
        compiled(torch.nn.Identity(), CPU)


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setattr(distributed, "process_count", lambda: 2)
    with pytest.raises(ValueError, match="in each of 2 processes; it is accepted in one"):
        compiled(torch.nn.Identity(), CPU)


def test_a_compiled_teacher_answers_as_the_plain_one(monkeypatch):
    monkeypatch.setattr(teacher_pass, "compiled", partial(compiled, backend="aot_eager"))
    answers = {}
    for compile in ("false", "true"):
        config = load_config("digits-fa", [f"run.compile={compile}"])
        network = small_resnet(dtype=torch.float64)
        with make_teacher_pass(network, config, lambda: pytest.fail("was measured")) as teacher:
            teacher.tap(TAPS)
            counters.clear()
            _, (logits, maps) = teacher("a batch", lambda: images(dtype=torch.float64), None)
        answers[compile] = {"logits": logits, **maps}
        assert counters["stats"]["unique_graphs"] == (compile == "true")
    assert answers["true"].keys() == answers["false"].keys() == {"logits", *TAPS}
    for name, value in answers["false"].items():
        torch.testing.assert_close(answers["true"][name], value, rtol=1e-12, atol=1e-12)
