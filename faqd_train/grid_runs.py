"""Train the runs of a grid: skip the finished, resume the interrupted, do the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from joblib import Parallel, delayed

from faqd_train.checkpoints import has_checkpoint
from faqd_train.experiment import run_experiment
from faqd_train.grid import GridRun, stages
from faqd_train.guards import TrainingDiverged
from faqd_train.records import Record, read_record
from faqd_train.run_folders import RECORD, finished_run

State = Literal["finished", "interrupted", "new", "diverged", "blocked"]


@dataclass(frozen=True)
class Outcome:
    """How far a run has come."""

    run: GridRun
    state: State
    record: Record | None = None  # of a finished run
    reason: str | None = None  # why it diverged or is blocked


def run_grid(
    runs: Iterable[GridRun],
    *,
    jobs: int | None = None,
    device: str = "cpu",
    on_outcome: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Train what is not finished; a run that diverges stops only those that need it.

    Parameters
    ----------
    runs : iterable of GridRun
        From `load_grid`.
    jobs : int, optional
        How many runs at once, in processes of joblib's; by default one after the other in this
        process, or as ``joblib.parallel_config`` says.
    device : str
        Where they run: "cpu", "cuda", …
    on_outcome : callable, optional
        Called as each run ends.

    Returns
    -------
    list of Outcome
        One a run, in their order.

    Raises
    ------
    ValueError
        If a folder holds a run of another configuration or teacher, before anything is trained;
        or if a run cannot be carried out, say for want of its data.
    Interrupted
        If SIGINT or SIGTERM came; the same call later goes on.

    Notes
    -----
    Dask trains the runs on its workers, which see the same folders::

        with dask.distributed.Client(address), joblib.parallel_config(backend="dask"):
            run_grid(load_grid("cifar10", out=Path("/shared/runs/cifar10")))
    """
    waiting = list(runs)
    outcomes = {outcome.run.folder: outcome for outcome in map(outcome_so_far, waiting)}
    for stage in stages(waiting):
        ready = []
        for run in stage:
            broken = [need for need in run.needs if _is_broken(outcomes.get(need))]
            if outcomes[run.folder].state == "finished":
                continue
            if broken:
                reason = f"it needs {broken[0].name}"
                outcomes[run.folder] = _told(Outcome(run, "blocked", reason=reason), on_outcome)
            else:
                ready.append(run)
        parallel = Parallel(n_jobs=jobs, return_as="generator_unordered")
        for outcome in parallel(delayed(_train)(run, device) for run in ready):
            outcomes[outcome.run.folder] = _told(outcome, on_outcome)
    return [outcomes[run.folder] for run in waiting]


def outcome_so_far(run: GridRun) -> Outcome:
    """Look how far a run has come.

    Raises
    ------
    ValueError
        If its folder holds a finished run of another configuration or teacher.
    """
    record = finished_run(run.folder, run.config, overwrite=False, resume=True)
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


def command_list(outcomes: Sequence[Outcome], device: str) -> tuple[list[str], list[int]]:
    """Return the commands of the unfinished runs, and how many come in each stage.

    The commands of a stage may run side by side, once all of the stages before are done.
    """
    unfinished = [outcome.run for outcome in outcomes if outcome.state != "finished"]
    staged = stages(unfinished)
    commands = [run.command(device) for stage in staged for run in stage]
    return commands, [len(stage) for stage in staged]


def _train(run: GridRun, device: str) -> Outcome:
    """Train one run in the process that calls it; to diverge is an outcome, too."""
    try:
        record = run_experiment(
            run.config, run.folder, teacher=run.teacher, resume=True, device=device
        )
    except TrainingDiverged as error:
        return Outcome(run, "diverged", reason=str(error))
    except (ValueError, OSError) as error:
        raise ValueError(f"{run.name}: {error}") from error
    return Outcome(run, "finished", record)


def _is_broken(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.state in ("diverged", "blocked")


def _told(outcome: Outcome, listener: Callable[[Outcome], None] | None) -> Outcome:
    if listener:
        listener(outcome)
    return outcome
