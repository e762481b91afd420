"""Students that share a teacher's passes end, to the bit, as they do alone."""

import signal
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from networks import images, small_resnet
from tiny_runs import (
    TINY,
    after_steps,
    assert_same_run,
    killed_after,
    terminate,
    tiny,
    training,
)

from faqd_train import load_config, run_experiment
from faqd_train.runs.cache import batches_key
from faqd_train.runs.folder import FolderInUse, lock_folder
from faqd_train.runs.record import read_record
from faqd_train.runs.run import run_together
from faqd_train.training.checkpoints import has_checkpoint
from faqd_train.training.divergence import TrainingDiverged
from faqd_train.training.seeds import make_streams
from faqd_train.training.signals import Interrupted
from faqd_train.training.teacher import TeacherPass

LONG = [*TINY, "optimizer.epochs=3", "run.checkpoint_steps=2"]
STEPS = 3 * 3
PASSES = STEPS + 1  # one more, to look at the last weights
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
    return load_config(name, [*LONG, *settings])


CONFIGS = {name: config_of(*settings) for name, settings in STUDENTS.items()}


@pytest.fixture(scope="module")
def alone(teacher, tmp_path_factory):
    """Return the folder of runs each of which was trained by itself, not to be changed."""
    folder = tmp_path_factory.mktemp("alone")
    for name, config in CONFIGS.items():
        run_experiment(config, folder / name, teacher=teacher)
    return folder


def together(out, teacher, names=tuple(CONFIGS), **options):
    configs = {out / name: CONFIGS[name] for name in names}
    return run_together(configs, teacher=teacher, **options)


def shared_by(students):
    """Count the passes: each student takes the last step's itself, as it then looks at another."""
    return STEPS - 1 + 2 * students


def assert_as_alone(out, alone, names=tuple(CONFIGS)):
    for name in names:
        assert_same_run(out / name, alone / name)


def test_students_of_any_bits_method_and_seed_end_as_alone_on_one_pass_per_batch(
    teacher, alone, tmp_path, passes
):
    started = time.perf_counter()
    results = together(tmp_path, teacher)
    elapsed = time.perf_counter() - started
    assert_as_alone(tmp_path, alone)
    assert results == {
        tmp_path / name: read_record(tmp_path / name / "run.json") for name in CONFIGS
    }
    assert len(passes) == shared_by(3) + 1  # "short" looks at a batch of its own, earlier
    # A run's seconds are those of its own steps.
    seconds = [record["seconds"] for record in results.values()]
    assert 0 < min(seconds) < sum(seconds) < elapsed


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
    others = 2 * 3 + 1 if "optimizer.batch_size=30" in settings else PASSES
    assert len(passes) == PASSES + others
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
    assert len(passes) == shared_by(2) + PASSES
    assert_as_alone(tmp_path, tmp_path / "reference", tuple(configs))


@contextmanager
def wrongly_shared():
    """Let the teacher take the second call for the first, the fourth for the third, and so on."""
    genuine, calls = TeacherPass.__call__, []

    def call(self, _batch_key, prepare, augment):
        calls.append(self)
        return genuine(self, (len(calls) - 1) // 2, prepare, augment)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TeacherPass, "__call__", call)
        yield


def test_two_data_orders_taken_for_one_would_be_noticed(teacher, alone, tmp_path):
    """The second student would learn from answers to other images."""
    other = config_of("digits-fa", "run.seed=1")
    run_experiment(other, tmp_path / "reference" / "other", teacher=teacher)
    with wrongly_shared():
        run_together({tmp_path / "fa": CONFIGS["fa"], tmp_path / "other": other}, teacher=teacher)
    assert_as_alone(tmp_path, alone, ["fa"])  # its call came first
    with pytest.raises(AssertionError):
        assert_as_alone(tmp_path, tmp_path / "reference", ["other"])


def losses_of(*augmentations):
    """Train students on one order of images and these augmentations, a step of each in turn."""
    config = tiny("digits-kd", "objective.label=none")

    def noisy(batch, generator):
        return batch if generator is None else batch + torch.randn(1, generator=generator)

    with TeacherPass(small_resnet(4)) as shared:
        students = [
            training(
                config,
                small_resnet(3),
                images(count=60),
                prepare=noisy,
                streams=replace(make_streams(0), augment=make_streams(seed).augment),
                teacher=shared,
            )
            for seed in augmentations
        ]
        while not students[-1].is_done:
            for student in students:
                student.step()
    return [student.state.history[-1].loss for student in students]


def test_one_order_of_the_images_is_not_taken_for_one_augmentation():
    right = [*losses_of(0), *losses_of(1)]
    assert losses_of(0, 1) == right
    with wrongly_shared():
        planted = losses_of(0, 1)
    assert planted[0] == right[0]
    assert planted[1] != right[1]  # the check can fail


def test_runs_resumed_at_different_steps_meet_again(teacher, alone, tmp_path, passes):
    for name, writes, position in (("fa", 3, (2, 2)), ("kd", 1, (1, 2))):
        with killed_after(writes) as done:
            run_experiment(CONFIGS[name], tmp_path / name, teacher=teacher)
        assert done[-1] == position
    run_experiment(CONFIGS["short"], tmp_path / "short", teacher=teacher)
    del passes[:]
    together(tmp_path, teacher, resume=True)  # of which one is new, and one is finished
    assert_as_alone(tmp_path, alone)
    assert len(passes) == shared_by(3)


def test_a_signal_stops_all_and_all_are_resumed(teacher, alone, tmp_path):
    with after_steps(4 * 3 + 1, terminate):  # as the first run has done a step of its second epoch
        results = together(tmp_path, teacher)
    assert {type(result) for result in results.values()} == {Interrupted}
    assert all(has_checkpoint(out) for out in results)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    together(tmp_path, teacher, resume=True)
    assert_as_alone(tmp_path, alone)


def test_a_time_budget_stops_all_and_all_are_resumed(teacher, alone, tmp_path):
    for steps in (1, 2):  # a budget of no time is spent after one step of each
        results = together(tmp_path, teacher, ("fa", "kd"), resume=True, time_budget=0.0)
        expected = f"the end of the time budget came in epoch 1, step {steps}"
        assert [str(result) for result in results.values()] == [expected] * 2
        assert {type(result) for result in results.values()} == {Interrupted}
    together(tmp_path, teacher, ("fa", "kd"), resume=True, time_budget=600.0)
    assert_as_alone(tmp_path, alone, ("fa", "kd"))


def test_a_run_that_fails_leaves_the_others_to_finish(teacher, alone, tmp_path):
    failing = {
        "explodes": config_of("digits-kd", "optimizer.lr=1e30"),
        "unknown": config_of("digits-fa", 'objective.fa.taps=["stage9"]'),
    }
    configs = {tmp_path / name: config for name, config in failing.items()}
    configs |= {tmp_path / name: CONFIGS[name] for name in ("fa", "ffa", "kd")}
    with lock_folder(tmp_path / "ffa"):
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


def test_a_second_ctrl_c_frees_all_folders_at_once(teacher, alone, tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    with after_steps(1, interrupt), pytest.raises(KeyboardInterrupt):
        together(tmp_path, teacher, ("fa", "kd"))
    for name in ("fa", "kd"):
        with lock_folder(tmp_path / name):
            pass
    together(tmp_path, teacher, ("fa", "kd"), resume=True)
    assert_as_alone(tmp_path, alone, ("fa", "kd"))


def test_a_data_seed_changes_the_batches_alone():
    plain, other, own = make_streams(3), make_streams(5), make_streams(3, data_seed=5)
    for name, state in own.states().items():
        source = other if name in ("order", "augment") else plain
        assert torch.equal(state, source.states()[name])
    same = make_streams(3, data_seed=3).states()
    assert all(torch.equal(state, same[name]) for name, state in plain.states().items())
