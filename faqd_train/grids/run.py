"""Train the runs of a grid: skip the finished, resume the interrupted, do the rest."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from joblib import Parallel, delayed

from faqd_train._validation import check_count
from faqd_train.grids.expand import GridRun, stages
from faqd_train.runs.cache import batches_key
from faqd_train.runs.folder import RECORD, FolderInUse, finished_run
from faqd_train.runs.record import Record, read_record
from faqd_train.runs.run import run_experiment, run_together
from faqd_train.training.checkpoints import has_checkpoint
from faqd_train.training.divergence import TrainingDiverged

State = Literal["finished", "interrupted", "new", "diverged", "busy", "blocked"]


@dataclass(frozen=True)
class Outcome:
    """How far a run is."""

    run: GridRun
    state: State
    record: Record | None = None  # of a finished run
    reason: str | None = None  # why it diverged, is busy or is blocked


def run_grid(
    runs: Iterable[GridRun],
    *,
    jobs: int | None = None,
    together: int = 1,
    device: str = "cpu",
    on_outcome: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Train what is not finished; a run that diverges stops only those that need it.

    A run that has diverged before is not tried again, until its folder is deleted. One that
    another process trains is "busy" and left to that process, as are those that need it: two
    calls may share a grid.

    Parameters
    ----------
    runs : iterable of GridRun
        From `load_grid`.
    jobs : int, optional
        How many runs at once, in processes of joblib's; by default one after the other in this
        process, or as ``joblib.parallel_config`` says.
    together : int
        How many students may share the passes of their teacher, in each process: they take
        turns, as in `run_together`, to the same results.
    device : str
        Where they run: "cpu", "cuda", …
    on_outcome : callable, optional
        Called as each run ends or is passed over, but for the finished ones.

    Returns
    -------
    list of Outcome
        One for each run, in their order.

    Raises
    ------
    ValueError
        If a folder holds a run of another configuration or teacher, before anything is trained;
        if a run cannot be carried out, say for want of its data; or if ``together`` is below 1.
    Interrupted
        If SIGINT or SIGTERM came; the same call later goes on.

    Notes
    -----
    Dask trains the runs on its workers, which see the same folders::

        with dask.distributed.Client(address), joblib.parallel_config(backend="dask"):
            run_grid(load_grid("cifar10", out=Path("/shared/runs/cifar10")))
    """
    check_count(together, "together")
    waiting = list(runs)
    outcomes = {outcome.run.folder: outcome for outcome in map(outcome_so_far, waiting)}
    for stage in stages(waiting):
        ready = []
        for run in stage:
            so_far = _unless_hindered(outcomes[run.folder], outcomes)
            if so_far.state in ("new", "interrupted"):
                ready.append(run)
            elif so_far.state != "finished":
                outcomes[run.folder] = _reported(so_far, on_outcome)
        parallel = Parallel(n_jobs=jobs, return_as="generator_unordered")
        groups = side_by_side(ready, together)
        for ended in parallel(delayed(_train)(group, device) for group in groups):
            for outcome in ended:
                outcomes[outcome.run.folder] = _reported(outcome, on_outcome)
    return [outcomes[run.folder] for run in waiting]


def outcome_so_far(run: GridRun) -> Outcome:
    """Look how far a run has come.

    Raises
    ------
    ValueError
        If its folder holds a finished run of another configuration or teacher.
    """
    try:
        record = finished_run(run.folder, run.config, overwrite=False, resume=True)
    except TrainingDiverged as error:
        return Outcome(run, "diverged", reason=str(error))
    if record is None:
        return Outcome(run, "interrupted" if has_checkpoint(run.folder) else "new")
    for role, folder in (("teacher", run.teacher), ("init", run.start)):
        if folder is None or not (folder / RECORD).exists():
            continue
        if record[role]["weights_sha256"] != read_record(folder / RECORD)["weights_sha256"]:
            raise ValueError(
                f"{run.folder} holds a finished run with other weights of its {role} than {folder} "
                f"holds now: choose another folder for the grid, or delete that run."
            )
    return Outcome(run, "finished", record)


def outcomes_so_far(runs: Iterable[GridRun]) -> dict[Path, Outcome]:
    """Look how far runs have come, each after those that it needs, and which are blocked."""
    outcomes: dict[Path, Outcome] = {}
    for run in runs:
        so_far = outcome_so_far(run)
        outcomes[run.folder] = _unless_hindered(so_far, outcomes)
    return outcomes


def command_list(outcomes: Sequence[Outcome], device: str) -> tuple[list[str], list[int]]:
    """Return the commands of the runs still to be trained, and how many come in each stage.

    The commands of a stage may run side by side, once all of the stages before are done.
    """
    unfinished = [o.run for o in outcomes if o.state in ("new", "interrupted")]
    staged = stages(unfinished)
    commands = [run.command(device) for stage in staged for run in stage]
    return commands, [len(stage) for stage in staged]


def side_by_side(runs: Iterable[GridRun], most: int) -> list[list[GridRun]]:
    """Group runs that ask one teacher about the same batches, up to so many; others stay alone."""
    alike: dict[Hashable, list[GridRun]] = {}
    for run in runs:
        shares = most > 1 and run.teacher is not None
        key = (run.teacher, batches_key(run.config)) if shares else run.folder
        alike.setdefault(key, []).append(run)
    return [
        group[first : first + most]
        for group in alike.values()
        for first in range(0, len(group), most)
    ]


def _train(runs: Sequence[GridRun], device: str) -> list[Outcome]:
    """Train one run, or several together, in the process that calls it."""
    if len(runs) == 1:
        (run,) = runs
        train = partial(run_experiment, run.config, run.folder, teacher=run.teacher)
        return [_outcome(run, partial(train, resume=True, device=device))]
    configs = {run.folder: run.config for run in runs}
    results = run_together(configs, teacher=runs[0].teacher, resume=True, device=device)
    return [_outcome(run, partial(_unless_raised, results[run.folder])) for run in runs]


def _outcome(run: GridRun, train: Callable[[], Record]) -> Outcome:
    """Train; to diverge or be trained elsewhere is an outcome, too."""
    try:
        record = train()
    except TrainingDiverged as error:
        return Outcome(run, "diverged", reason=str(error))
    except FolderInUse:
        return Outcome(run, "busy", reason="another process trains it")
    except (ValueError, OSError) as error:
        raise ValueError(f"{run.name}: {error}") from error
    return Outcome(run, "finished", record)


def _unless_raised(result: Record | Exception) -> Record:
    if isinstance(result, Exception):
        raise result
    return result


def _unless_hindered(so_far: Outcome, outcomes: Mapping[Path, Outcome]) -> Outcome:
    """Return how far a run has come, or which one that it needs keeps it from being trained."""
    if so_far.state not in ("new", "interrupted"):
        return so_far
    run = so_far.run
    needed = [outcomes[need] for need in run.needs if need in outcomes]
    if broken := [need for need in needed if need.state in ("diverged", "blocked")]:
        return Outcome(run, "blocked", reason=f"it needs {broken[0].run.name}")
    if busy := [need for need in needed if need.state == "busy"]:
        reason = f"it needs {busy[0].run.name}, which another process trains"
        return Outcome(run, "busy", reason=reason)
    return so_far


def _reported(outcome: Outcome, listener: Callable[[Outcome], None] | None) -> Outcome:
    if listener:
        listener(outcome)
    return outcome
