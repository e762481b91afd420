"""The benchmark's bookkeeping: counts, memory, order of calls, tables, JSON. No time is judged."""

import json
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from faqd_train import cli, load_config
from faqd_train.benchmark import limits, loss_paths, running, training_step
from faqd_train.benchmark.growth import Growth
from faqd_train.benchmark.limits import Limits, measure_limits
from faqd_train.benchmark.loss_paths import gradient, measure_losses, relu_maps
from faqd_train.benchmark.peak_memory import peak_bytes
from faqd_train.benchmark.printing import render
from faqd_train.benchmark.shapes import STAGES, Shape, fitted, multiply_adds
from faqd_train.benchmark.timing import (
    IN_A_ROW,
    WARM_UP,
    Budget,
    Spread,
    interleaved,
    time_rows,
)
from faqd_train.losses import released as released_losses
from faqd_train.networks.resnet import preact_resnet
from faqd_train.networks.taps import tapped

CPU = torch.device("cpu")
SHAPE = Shape("small", 3, 4, 8)
ONCE = Budget(1, 0.0)
FAST_MACHINE = Limits(1e12, 1e15)
PATHS = [path.name for path in loss_paths.loss_paths(torch.Generator())]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


ONES = torch.ones(1000)


def held_while_another(first, second):
    """Hold one result while the second call runs."""
    result = first()
    second()
    return result


# A call, and the bytes it holds at its peak: 4,000 an array.
HELD = {
    "one array": (lambda: ONES + 1, 4000),
    "an array freed before the next": (lambda: [(ONES + 1).sum() for _ in range(3)], 4000 + 12),
    "two at once": (lambda: (ONES + 1).add(1).add(1), 8000),
    "three at once": (lambda: [ONES + i for i in range(3)], 12000),
    "a view": (lambda: ONES.reshape(10, 100).mT, 0),
    "in place": (lambda: (ONES + 1).add_(1).mul_(2), 4000),
    "into what is there": (lambda: torch.add(ONES, 0, out=ONES), 0),
    "an outer product": (lambda: ONES[:, None] * ONES, 4_000_000),
    "nested": (lambda: held_while_another(lambda: ONES + 1, lambda: ONES + 2), 8000),
}


@pytest.mark.parametrize("name", HELD)
def test_peak_memory_is_that_of_known_allocations(name):
    call, expected = HELD[name]
    assert peak_bytes(call, CPU) in range(expected, expected + 13)  # scalars of 4 bytes


def test_peak_memory_sees_the_backward_pass():
    leaf = torch.ones(1000, requires_grad=True)
    # exp keeps its result; backward adds the sum's and its own gradient.
    call = partial(torch.autograd.grad, torch.ones(1000).dot(leaf), leaf)
    assert peak_bytes(call, CPU) == 4000 + 4  # the gradient, and the scalar it starts from
    assert peak_bytes(lambda: torch.autograd.grad(leaf.exp().sum(), leaf), CPU) >= 8000


def test_released_direct_fa_holds_three_affinity_matrices():
    shape = Shape("many pixels", 2, 2, 32)
    student, teacher = relu_maps(shape, device=CPU, generator=generator())
    call = partial(gradient, partial(released_losses.fa_loss, order=2), student, teacher)
    # Beside them some arrays of a map's size, 16 KB each: within 2 %.
    assert shape.released_bytes <= peak_bytes(call, CPU) <= 1.02 * shape.released_bytes


def products(work, x, y, z):
    """Take the products that a path cannot do without, by its formulas (§4)."""
    if work == "direct":
        return x.mT @ x, y.mT @ y, x @ torch.ones(x.shape[0], x.shape[2], x.shape[2])
    if work == "gram":
        return (xx := x @ x.mT), y @ y.mT, (xy := x @ y.mT), xx @ x, xy @ y
    az = x.mT @ (xz := x @ z) - y.mT @ (y @ z)
    return (x @ az) @ z.mT, xz @ az.mT


@pytest.mark.parametrize("work", ["direct", "gram", "ffa"])
def test_multiply_adds_are_those_of_the_products(work):
    x, y = torch.ones(2, SHAPE.batch, SHAPE.channels, SHAPE.pixels).unbind()
    with FlopCounterMode(display=False) as counter:
        products(work, x, y, torch.ones(SHAPE.batch, SHAPE.pixels, 5))
    assert multiply_adds(work, SHAPE, k=5) == counter.get_total_flops() / 2


@pytest.mark.parametrize(("side", "cheaper"), [(2, "direct"), (8, "gram")])
def test_exact_fa_needs_the_lesser_of_direct_and_gram(side, cheaper):
    shape = replace(SHAPE, side=side)
    assert multiply_adds("exact", shape) == multiply_adds(cheaper, shape)


def test_bytes_moved_are_both_maps_and_the_gradient():
    pair = relu_maps(SHAPE, device=CPU, generator=generator())
    (slope,) = gradient(released_losses.fa_loss, *pair)
    assert SHAPE.bytes_moved == sum(tensor.nbytes for tensor in (*pair, slope))
    assert SHAPE.map_bytes == pair[0].nbytes


def test_maps_are_those_of_a_relu_without_dead_pixels():
    for features in relu_maps(Shape("few channels", 2, 2, 16), device=CPU, generator=generator()):
        assert features.min() == 0
        assert 0.2 < (features == 0).float().mean() < 0.3  # half of the second channel
        assert (features.amax(dim=1) > 0).all()


@pytest.mark.parametrize("shape", STAGES, ids=lambda shape: shape.name)
@pytest.mark.parametrize("memory", [1.0, 1e8, 4e9])
def test_batches_are_lowered_to_the_memory_and_no_further(shape, memory):
    lowered = fitted(shape, memory)
    assert 1 <= lowered.batch <= shape.batch
    assert lowered.batch == 1 or lowered.released_bytes <= memory
    if lowered.batch < shape.batch:
        assert replace(lowered, batch=lowered.batch + 1).released_bytes > memory


def test_limits_are_the_longer_of_moving_and_multiplying():
    moving, multiplying = SHAPE.bytes_moved / 1e9, multiply_adds("gram", SHAPE) / 1e9
    assert Limits(1e9, 1e30).seconds("gram", SHAPE) == moving
    assert Limits(1e30, 1e9).seconds("gram", SHAPE) == multiplying


def test_rates_are_counts_over_the_fastest_time(monkeypatch):
    times = iter([0.5, 0.25, 4.0, 2.0])
    monkeypatch.setattr(limits, "seconds", lambda _call, _device: next(times))
    measured = measure_limits(CPU, entries=1000, side=10, repetitions=2)
    assert measured == Limits(8 * 1000 / 0.25, 10**3 / 2.0)


def test_each_call_runs_once_a_round_in_changing_order():
    ran = []
    calls = [partial(ran.append, name) for name in range(4)]
    times = interleaved(calls, Budget(30, 1e6), device=CPU, generator=generator())
    assert [len(each) for each in times] == [30] * 4
    rounds = np.reshape(ran, (32, 4))  # two of them warm up
    assert all(sorted(order) == [0, 1, 2, 3] for order in rounds.tolist())
    assert len(np.unique(rounds[2:], axis=0)) > 5  # of 24 orders


def test_calls_are_timed_in_rows_without_the_first_of_each():
    """That call, which finds its data out of the caches, is slow here."""
    ran = []

    def call(name):
        if ran[-1:] != [name]:
            time.sleep(0.05)
        ran.append(name)

    calls = {name: partial(call, name) for name in "abc"}
    rows = WARM_UP + 8
    times = time_rows(calls, rows, device=CPU, generator=generator())
    assert {name: len(found) for name, found in times.items()} == dict.fromkeys(
        "abc", 8 * (IN_A_ROW - 1)
    )
    in_rows = np.reshape(ran, (rows, 3, IN_A_ROW))
    assert (in_rows == in_rows[:, :, :1]).all()
    orders = in_rows[:, :, 0].tolist()
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)
    assert len({tuple(order) for order in orders}) > 2  # of 6 orders
    # Where a row continues the last one of its call, its first is quick, and not counted either.
    assert np.median([seconds for found in times.values() for seconds in found]) < 0.025


def measured(shape=SHAPE, rates=FAST_MACHINE, memory=1e9):
    return measure_losses(
        shape,
        full_batch=shape.batch,
        limits=rates,
        memory=memory,
        budget=ONCE,
        device=CPU,
        generator=generator(),
    )


def test_a_table_holds_every_path_with_its_counts():
    table = measured()
    assert [row.path for row in table.rows] == PATHS
    for row in table.rows:
        assert row.not_run is None
        assert row.seconds.repetitions == 1
        assert row.peak_bytes >= SHAPE.map_bytes  # the gradient at least
    by_path = {row.path: row for row in table.rows}
    assert by_path["FA, Gram"].multiply_adds == multiply_adds("gram", SHAPE)
    assert by_path["FFA, k = 15"].limit_seconds == FAST_MACHINE.seconds("ffa", SHAPE)


def test_what_does_not_fit_or_takes_too_long_says_so():
    large, slow = measured(memory=1000), measured(rates=Limits(1e12, 1e4))
    reasons = [{r.path: r.not_run for r in t.rows if r.seconds is None} for t in (large, slow)]
    assert reasons[0] == {"released FA, direct": "needs 0.000147 GB"}
    assert reasons[1] == {"FA, direct": "over 14.7 s"}  # 3·3·64²·4 at 10⁴ a second
    assert large.median("released FA, direct") is None


@pytest.fixture(scope="module")
def step_networks():
    config = load_config(
        "cifar10", ["labels=label-free", "model.depth=8", "optimizer.batch_size=4"]
    )
    inputs = torch.randn(4, 3, 32, 32, generator=generator())
    return config, inputs, training_step.make_networks(config, 8, inputs)


def test_both_steps_minimise_the_same_losses(step_networks, monkeypatch):
    config, inputs, networks = step_networks
    outputs = training_step._outputs(networks, inputs, config)
    gaps = training_step.differences(config, **outputs)
    assert gaps["kd"] == 0
    # The offset 1e-5 beside norms of 0.1 and more; float32 sums of 4·1024² entries.
    assert gaps["fa"] < 1e-4
    assert gaps["fa in float32"] < 1e-2
    right = released_losses.fa_loss
    monkeypatch.setattr(released_losses, "fa_loss", lambda *a, **o: 1.001 * right(*a, **o))
    assert training_step.differences(config, **outputs)["fa"] > 1e-3  # 1.001² − 1


def test_the_command_measures_prints_and_writes_all(tmp_path, capsys, monkeypatch):
    file = tmp_path / "bench.json"
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["bench", "--quick", "--json", str(file), "run.precision=float32"]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    content = json.loads(file.read_text("utf-8"))
    names = [table["shape"]["name"] for table in content["losses"]]
    assert names == [shape.name for shape in STAGES]
    for table in (*content["losses"], *content["sweep"]):
        assert [row["path"] for row in table["rows"]] == PATHS
    for name in (*names, *PATHS, "released", "ours", "FA's share", "GB/s", "× both maps"):
        assert name in printed
    assert len(content["sweep"]) == 2
    assert {len(times) for times in content["memory"]["seconds"]} == {6}
    assert content["step"]["config"]["optimizer"]["batch_size"] == 2
    assert content["limits"].keys() == {"bytes_per_second", "multiply_adds_per_second"}
    assert content["quick"] is True


@pytest.mark.parametrize(
    ("name", "batch", "side", "stages"),
    [("cifar10", 100, 32, STAGES[:3]), ("tiny-imagenet", 64, 224, STAGES[3:])],
)
def test_stages_are_those_of_the_networks(name, batch, side, stages):
    config = load_config(name)
    network = preact_resnet(
        config.model, in_channels=3, classes=10, side=side, generator=generator()
    )
    with tapped(network.eval(), network.stage_names) as maps, torch.no_grad():
        network(torch.zeros(1, 3, side, side))
    assert config.optimizer.batch_size == batch
    assert [(s.batch, s.channels, s.side) for s in stages] == [
        (batch, *maps[tap].shape[1:3]) for tap in network.stage_names
    ]


def test_growth_counts_bytes_beside_those_of_both_maps():
    growth = Growth([SHAPE], [[0.002, 0.001, 0.004]], [3 * SHAPE.map_bytes])
    assert growth.added(0) == 1.5
    (cells,) = zip(*(column.cells for column in render(growth).columns), strict=True)
    assert cells == ("8²", "64", "2.00 [1.50–3.00]", "0.01", "1.50")


def test_a_table_shows_ratios_and_the_distance_to_the_limit():
    rows = [
        loss_paths.Row(name, Spread(time, time, time, 9), 2_000_000, 1, 0.001)
        for name, time in (("released FA, direct", 0.12), ("released FFA, k = 15", 0.03))
    ]
    rows += [
        loss_paths.Row("FA, auto", Spread(0.01, 0.009, 0.02, 9), 1_000_000, 1, 0.004),
        loss_paths.Row("FA, direct", None, None, 1, 0.001, "over 3 s"),
    ]
    table = render(loss_paths.Table(replace(SHAPE, batch=2), 3, rows))
    cells = list(zip(*(column.cells for column in table.columns), strict=True))
    assert cells[2] == ("FA, auto", "10.0 [9.0–20.0]", "12", "3", "1.00", "2.5")
    assert cells[3][:3] == ("FA, direct", "not run: over 3 s", "")
    assert table.title == "small: batch 2 of 3, to fit, 4 channels, 8² pixels"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--repetitions", "0"], "--repetitions is 0; a positive number is accepted"),
        (["--memory", "-1"], "--memory is -1.0; a positive number is accepted"),
        (["--memory", "nan"], "--memory is nan; a positive number is accepted"),
        (["--json", "nowhere/b.json"], "--json is nowhere/b.json, in a folder that does not exist"),
        (["--device", "gpu"], "device is 'gpu', which torch does not find"),
        (["--what", "losses", "run.seed=1"], "settings are run.seed=1 but no training step is"),
        (
            ["objective.label.weight=0.3", "data.labels=true"],
            "the configuration is not of a step that can stand beside",
        ),
        (["method=ffa15"], "the configuration is not of a step that can stand beside"),
        (["bits=float"], "the configuration is not of a step that can stand beside"),
        (["run.cuda_graph=true"], "run.cuda_graph is true on cpu with 1 processes; one process on"),
        (["run.speed=1"], "run.speed"),
    ],
)
def test_bad_options_are_refused_in_one_line_before_any_timing(
    options, message, capsys, monkeypatch
):
    monkeypatch.setattr(running, "measure_limits", pytest.fail)
    assert cli.main(["bench", "--quick", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_an_unknown_part_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["bench", "--what", "everything"])
    assert "invalid choice: 'everything'" in capsys.readouterr().err
