"""Students that share a teacher's passes end, to the bit, as they do alone."""

import json
import signal
from dataclasses import replace
from functools import partial

import pytest
import torch
from cut_off_runs import Killed, without_time
from faqd_train.runs.common import batches_key
from faqd_train.training.turns import Stopwatch, take_turns
from safetensors.torch import load_file

from faqd_train import load_config, run_experiment
from faqd_train.cli import main
from faqd_train.grids.expand import load_grid
from faqd_train.grids.run import run_grid, side_by_side
from faqd_train.networks.resnet import preact_resnet
from faqd_train.runs.folder import FolderInUse, claimed
from faqd_train.runs.record import read_record
from faqd_train.runs.run import run_together
from faqd_train.training import checkpoints, turns
from faqd_train.training import teacher as teacher_pass
from faqd_train.training.checkpoints import has_checkpoint
from faqd_train.training.divergence import TrainingDiverged
from faqd_train.training.loop import training
from faqd_train.training.seeds import make_streams
from faqd_train.training.signals import Interrupted
from faqd_train.training.teacher import TeacherPass

TINY = ["data.limit=60", "model.widths=[4, 4, 8]", "optimizer.batch_size=20", "optimizer.epochs=3"]
PASSES = 3 * 3 + 1  # a step each, and the look at the last weights
ALTERNATING = ["quantization.weights.projection=alternating", "optimizer.lr=0.05"]
LABEL_FREE = ["data.labels=false", "objective.label=none"]
# Other bits, objectives, taps, labels, seeds and lengths: one data seed.
STUDENTS = {
    "fa": ["digits-fa", "bits=4w4a", 'objective.fa.taps=["stage1","stage3"]'],
    "ffa": ["digits-ffa", "bits=2w4a", "run.seed=1", "run.data_seed=0", "run.capture=2"],
    "kd": ["digits-kd", "bits=1w", "run.seed=2", "run.data_seed=0", *ALTERNATING],
    "short": ["digits-fa", "optimizer.epochs=2", *LABEL_FREE],
}


def config_of(name, *settings):
    return load_config(name, [*TINY, "run.checkpoint_steps=2", *settings])


CONFIGS = {name: config_of(*settings) for name, settings in STUDENTS.items()}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "teacher"
    run_experiment(load_config("digits-teacher", TINY), folder)
    return folder


@pytest.fixture(scope="module")
def alone(teacher, tmp_path_factory):
    """Return the folder of runs each of which was trained by itself, not to be changed."""
    folder = tmp_path_factory.mktemp("alone")
    for name, config in CONFIGS.items():
        run_experiment(config, folder / name, teacher=teacher)
    return folder


@pytest.fixture
def passes(monkeypatch):
    """Return a list that grows by one with every pass of a teacher in a training."""
    genuine, seen = teacher_pass.running_in, []

    def noting(precision, device):
        seen.append(precision)
        return genuine(precision, device)

    monkeypatch.setattr(teacher_pass, "running_in", noting)
    return seen


def together(out, teacher, names=tuple(CONFIGS), **options):
    configs = {out / name: CONFIGS[name] for name in names}
    return run_together(configs, teacher=teacher, **options)


def assert_as_alone(out, alone, names=tuple(CONFIGS)):
    """All weights to the bit; records, metrics and files but for times."""
    for name in names:
        ours, theirs = out / name, alone / name
        assert {path.name for path in ours.iterdir()} == {path.name for path in theirs.iterdir()}
        for path in ours.glob("*.safetensors"):
            tensors, expected = load_file(path), load_file(theirs / path.name)
            assert list(tensors) == list(expected)
            assert all(torch.equal(tensors[key], expected[key]) for key in tensors), path
        record, expected = (read_record(folder / "run.json") for folder in (ours, theirs))
        assert without_time(record) == without_time(expected)
        lines = (ours / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == record["epochs"]


def test_students_of_any_bits_method_and_seed_end_as_alone_on_one_pass_a_batch(
    teacher, alone, tmp_path, passes
):
    results = together(tmp_path, teacher)
    assert_as_alone(tmp_path, alone)
    assert results == {
        tmp_path / name: read_record(tmp_path / name / "run.json") for name in CONFIGS
    }
    # The run that ends an epoch earlier looks at a batch of its own there.
    assert len(passes) == PASSES + 1


def test_alone_each_takes_its_own_passes(teacher, tmp_path, passes):
    for name in ("fa", "kd"):
        run_experiment(CONFIGS[name], tmp_path / name, teacher=teacher)
    assert len(passes) == 2 * PASSES


def forgetful(self, inputs, asked, *, genuine, keep):
    return genuine(self, inputs, keep(asked))


@pytest.mark.parametrize(
    "settings",
    [
        ["run.seed=1"],  # another order of the images
        ["optimizer.batch_size=30"],
        ["data.shift=2"],
        ["data.limit=50"],
        ["run.teacher.precision=bfloat16"],
    ],
)
def test_students_that_see_other_batches_have_passes_of_their_own(
    settings, teacher, alone, tmp_path, passes
):
    other = config_of("digits-fa", *settings)
    run_experiment(other, tmp_path / "reference" / "other", teacher=teacher)
    del passes[:]
    both = {tmp_path / "fa": CONFIGS["fa"], tmp_path / "other": other}
    run_together(both, teacher=teacher)
    assert len(passes) == PASSES + (2 * 3 + 1 if "optimizer.batch_size=30" in settings else PASSES)
    assert_as_alone(tmp_path, alone, ["fa"])
    assert_as_alone(tmp_path, tmp_path / "reference", ["other"])
    assert batches_key(other) != batches_key(CONFIGS["fa"])


def test_folded_teachers_are_shared_where_the_same_maps_are_needed(teacher, tmp_path, passes):
    """What is folded depends on the maps, and must be what it is alone."""
    folded = ["run.teacher.folded=true"]
    configs = {
        "fa": config_of("digits-fa", *folded),
        "ffa": config_of("digits-ffa", "bits=1w", *folded),
        "kd": config_of("digits-kd", *folded),
    }
    for name, config in configs.items():
        run_experiment(config, tmp_path / "reference" / name, teacher=teacher)
    del passes[:]
    run_together({tmp_path / name: config for name, config in configs.items()}, teacher=teacher)
    assert len(passes) == 2 * PASSES
    assert_as_alone(tmp_path, tmp_path / "reference", tuple(configs))


def test_passes_wrongly_shared_would_be_noticed(teacher, alone, tmp_path, monkeypatch):
    """Two data orders taken for one: the second student learns from answers to other images."""
    other = config_of("digits-fa", "run.seed=1")
    run_experiment(other, tmp_path / "reference" / "other", teacher=teacher)
    wrong = partial(forgetful, genuine=TeacherPass.__call__, keep=lambda asked: asked[2])
    monkeypatch.setattr(TeacherPass, "__call__", lambda *arguments: wrong(*arguments))
    run_together({tmp_path / "fa": CONFIGS["fa"], tmp_path / "other": other}, teacher=teacher)
    assert_as_alone(tmp_path, alone, ["fa"])  # it asked first
    with pytest.raises(AssertionError):
        assert_as_alone(tmp_path, tmp_path / "reference", ["other"])


def losses_of_two(teacher, images):
    """Train two students on one order of the images and two augmentations, taking turns."""
    config = load_config("digits-kd", [*TINY, "objective.label=none"])
    streams = make_streams(0), replace(make_streams(0), augment=make_streams(1).augment)

    def student():
        generator = torch.Generator().manual_seed(3)
        return preact_resnet(config.model, in_channels=1, classes=10, generator=generator)

    def noisy(batch, generator):
        return batch if generator is None else batch + torch.randn(1, generator=generator)

    def train(own, guide):
        return training(
            student(),
            images,
            config,
            streams=own,
            prepare=noisy,
            teacher=guide,
            adapters=None,
            labels=None,
            validate=None,
            on_epoch=None,
            checkpoints=None,
            stop=lambda: None,
        )

    with TeacherPass(teacher) as guide:
        states = dict(take_turns({i: train(own, guide) for i, own in enumerate(streams)}))
    return [states[i].history[-1].loss for i in (0, 1)]


def test_one_order_of_the_images_is_not_taken_for_one_augmentation(monkeypatch):
    generator = torch.Generator().manual_seed(4)
    config = load_config("digits-teacher", TINY)
    network = preact_resnet(config.model, in_channels=1, classes=10, generator=generator)
    images = torch.randn(60, 1, 8, 8, generator=generator)
    right = losses_of_two(network, images)
    wrong = partial(forgetful, genuine=TeacherPass.__call__, keep=lambda asked: asked[:3])
    monkeypatch.setattr(TeacherPass, "__call__", lambda *arguments: wrong(*arguments))
    planted = losses_of_two(network, images)
    assert planted[0] == right[0]
    assert planted[1] != right[1]  # the check can fail


def cut_off(out, config, teacher, writes):
    """Train until so many checkpoints are written, and no further."""
    genuine, done = checkpoints.Checkpoints.save, []

    def save(self, state):
        genuine(self, state)
        done.append((state["epoch"], state["batches"]))
        if len(done) == writes:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints.Checkpoints, "save", save)
        with pytest.raises(Killed):
            run_experiment(config, out, teacher=teacher)
    return done[-1]


def test_runs_resumed_at_different_steps_meet_again(teacher, alone, tmp_path, passes):
    assert cut_off(tmp_path / "fa", CONFIGS["fa"], teacher, 3) == (2, 2)
    assert cut_off(tmp_path / "kd", CONFIGS["kd"], teacher, 1) == (1, 2)
    run_experiment(CONFIGS["short"], tmp_path / "short", teacher=teacher)
    del passes[:]
    together(tmp_path, teacher, resume=True)  # of which one is new, and one is finished
    assert_as_alone(tmp_path, alone)
    assert len(passes) == PASSES


def test_a_signal_stops_all_and_all_go_on(teacher, alone, tmp_path, monkeypatch):
    genuine, asked = checkpoints.Checkpoints.due, []

    def due(self, step):
        asked.append(step)
        if len(asked) == 4 * 3 + 1:  # as the first run has done a step of its second epoch
            signal.raise_signal(signal.SIGTERM)
        return genuine(self, step)

    monkeypatch.setattr(checkpoints.Checkpoints, "due", due)
    results = together(tmp_path, teacher)
    assert {type(result) for result in results.values()} == {Interrupted}
    assert all(has_checkpoint(out) for out in results)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    together(tmp_path, teacher, resume=True)
    assert_as_alone(tmp_path, alone)


def test_a_run_that_fails_leaves_the_others_to_go_on(teacher, alone, tmp_path):
    failing = {
        "explodes": config_of("digits-kd", "optimizer.lr=1e30"),
        "unknown": config_of("digits-fa", 'objective.fa.taps=["stage9"]'),
    }
    configs = {tmp_path / name: config for name, config in failing.items()}
    configs |= {tmp_path / name: CONFIGS[name] for name in ("fa", "ffa", "kd")}
    with claimed(tmp_path / "ffa"):
        results = run_together(configs, teacher=teacher)
    assert_as_alone(tmp_path, alone, ["fa", "kd"])
    ends = {out.name: type(result) for out, result in results.items()}
    assert ends == {
        "explodes": TrainingDiverged,
        "unknown": ValueError,
        "fa": dict,
        "ffa": FolderInUse,
        "kd": dict,
    }
    assert (tmp_path / "explodes" / "diverged.json").is_file()
    assert "module 'stage9' is not in the network" in str(results[tmp_path / "unknown"])


def test_a_second_ctrl_c_frees_all_folders_at_once(teacher, alone, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.Checkpoints, "due", interrupt)
        with pytest.raises(KeyboardInterrupt):
            together(tmp_path, teacher, ("fa", "kd"))
    for name in ("fa", "kd"):
        with claimed(tmp_path / name):
            pass
    together(tmp_path, teacher, ("fa", "kd"), resume=True)
    assert_as_alone(tmp_path, alone, ("fa", "kd"))


def interrupt(_checkpoints, _step):
    raise KeyboardInterrupt


GRID = ["bits=4w4a,1w4a", "run.seed=0,1", "run.data_seed=0", "data.limit=60", "optimizer.epochs=1"]


def grid_of(out, *settings):
    settings = [*GRID, *settings, "teacher.optimizer.epochs=1"]
    return load_grid("digits-fa,digits-kd,digits-qat", settings, out=out, teacher="digits-teacher")


def test_a_grid_with_shared_passes_trains_what_it_trains_without(tmp_path, passes, capsys):
    plain = run_grid(grid_of(tmp_path / "plain"))
    apart = len(passes)
    settings = [*GRID, "teacher.optimizer.epochs=1", "--teacher", "digits-teacher"]
    command = ["grid", "digits-fa,digits-kd,digits-qat", *settings, "--together", "8"]
    shown = tmp_path / "j.json"
    assert main([*command, "--out", str(tmp_path / "shared"), "--json", str(shown)]) == 0
    shared = {run["name"]: run["record"] for run in json.loads(shown.read_text())}
    assert {o.run.name: without_time(o.record) for o in plain} == {
        name: without_time(record) for name, record in shared.items()
    }
    assert len(passes) - apart == apart / 8
    assert capsys.readouterr().out.count("digits-qat") >= 4


def test_groups_are_of_one_teacher_and_the_same_batches(tmp_path):
    students = [
        run for run in grid_of(tmp_path, "data.shift=0,1") if run.needs or run.teacher is None
    ]
    groups = side_by_side(students, 3)
    assert sorted(run.name for group in groups for run in group) == sorted(
        run.name for run in students
    )
    assert max(len(group) for group in groups) == 3
    for group in groups:
        assert len({(run.teacher, batches_key(run.config)) for run in group}) == 1
        assert len(group) == 1 or group[0].teacher is not None
    assert side_by_side(students, 1) == [[run] for run in students]


def test_a_grid_tells_how_each_run_of_a_group_ended(tmp_path):
    settings = ["optimizer.lr=0.1,1e30", "data.limit=60", "optimizer.epochs=1"]
    settings.append("teacher.optimizer.lr=0.1")
    runs = load_grid("digits-kd", settings, out=tmp_path, teacher="digits-teacher")
    run_grid(runs[:1])
    busy = load_grid("digits-fa", settings[1:], out=tmp_path, teacher="digits-teacher")[1:]
    with claimed(busy[0].folder):
        outcomes = run_grid([*runs, *busy], together=3)
    assert [outcome.state for outcome in outcomes] == ["finished", "finished", "diverged", "busy"]


@pytest.mark.parametrize("count", ["0", "-1"])
def test_no_student_at_once_is_refused(count, tmp_path, capsys):
    command = ["grid", "digits-qat", "--together", count, "--out", str(tmp_path / "out")]
    assert main(command) == 2
    expected = f"faqd-train grid: together is {count}; an integer of at least 1 is accepted"
    assert capsys.readouterr().err.startswith(expected)
    assert not (tmp_path / "out").exists()


def test_a_data_seed_changes_the_batches_alone():
    plain, other, own = make_streams(3), make_streams(5), make_streams(3, data_seed=5)
    for name, state in own.states().items():
        source = other if name in ("order", "augment") else plain
        assert torch.equal(state, source.states()[name])
    same = make_streams(3, data_seed=3).states()
    assert all(torch.equal(state, same[name]) for name, state in plain.states().items())


def test_seconds_are_those_of_a_runs_own_turns(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(turns.time, "perf_counter", lambda: clock[0])
    watch = Stopwatch(5.0)
    clock[0] += 2
    with watch.paused():
        clock[0] += 40
    clock[0] += 1
    assert watch.seconds() == 8.0
