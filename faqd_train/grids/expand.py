"""Grids of runs: each combination of settings is a named run, after the runs that it needs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from faqd_train.config.files import load_config
from faqd_train.config.schema import Config
from faqd_train.config.tables import setting_names
from faqd_train.grids.files import PLACES, Block, read_blocks, split_role, split_setting

Settings = dict[str, str]  # of one run: values by keys

# Teacher and student see the same images; whether with labels, each decides for itself.
_SHARED_WITH_TEACHER = re.compile(r"data\.(?!labels$)")


@dataclass(frozen=True)
class GridRun:
    """One run of a grid: what `run_experiment` needs, and the command that does the same."""

    folder: Path
    config_name: str
    settings: tuple[str, ...]
    config: Config
    teacher: Path | None  # folder of the run that teaches it
    start: Path | None  # folder of the run whose weights it takes up

    @property
    def name(self) -> str:
        """Name of its folder, made of configuration and settings."""
        return self.folder.name

    @property
    def needs(self) -> tuple[Path, ...]:
        """Folders of the runs that must be finished before it."""
        return tuple(folder for folder in (self.teacher, self.start) if folder is not None)

    def command(self, device: str = "cpu") -> str:
        """Return the command that trains the run, or resumes it."""
        verb = "distill" if self.config.objective.needs_teacher else "teacher"
        words = ["faqd-train", verb, self.config_name, *self.settings, "--out", str(self.folder)]
        if self.teacher is not None:
            words += ["--teacher", str(self.teacher)]
        if device != "cpu":
            words += ["--device", device]
        return shlex.join([*words, "--resume"])


def load_grid(
    name: str, settings: Iterable[str] = (), *, out: Path, teacher: str | None = None
) -> list[GridRun]:
    """Expand a grid to its runs.

    Parameters
    ----------
    name : str
        One of `packaged_grids`, a path to such a file, or names of configurations with commas
        between them.
    settings : strings ``section.key=a,b,…`` or ``kind=part,part,…``
        Each combination of values is a run. In a grid that has settings of its own, parts pick
        among its runs, and other keys get these values instead of its own. With ``start.``
        before some keys, a run is fine-tuned: it starts from the weights of the run in which
        those settings are changed. Keys after ``teacher.`` are the teacher's, which shares the
        settings of ``data`` with its students. ``data.dir`` and ``data.cache`` have one value.
    out : Path
        The folder of the runs' folders.
    teacher : str, optional
        A configuration to train as the teacher, or the folder of a finished run; needed if a
        run has a teacher and the grid names none.

    Returns
    -------
    list of GridRun
        Of different names, each after those that it needs, as in `stages`.

    Raises
    ------
    ValueError
        In one sentence, as `load_config` does, before anything is trained; or if different runs
        would have one folder.

    Examples
    --------
    >>> grid = load_grid(
    ...     "digits-fa,digits-qat", ["run.seed=0,1"], out=Path("runs"), teacher="digits-teacher"
    ... )
    >>> for run in grid:
    ...     print(run.name)
    digits-teacher
    digits-fa-seed=0
    digits-qat-seed=0
    digits-fa-seed=1
    digits-qat-seed=1
    """
    settings = list(settings)
    given = dict(split_setting(setting) for setting in settings)
    runs: dict[Path, GridRun] = {}
    for block in read_blocks(name):
        if teacher is not None:
            block = block.model_copy(update={"teacher": teacher})
        axes = _axes(block, given)
        for values in product(*axes.values()):
            _add(runs, block, dict(zip(axes, values, strict=True)), out)
    if not runs:
        raise ValueError(
            f"no run of {name} has {' '.join(settings)}; faqd-train grid {name} --dry-run shows "
            f"those it has."
        )
    return [run for stage in stages(runs.values()) for run in stage]


def stages(runs: Iterable[GridRun]) -> list[list[GridRun]]:
    """Group runs so that each needs only runs of earlier groups.

    The last group holds all runs that no other needs, ordered by seed: all runs of one seed are
    finished before those of the next begin.
    """
    by_folder = {run.folder: run for run in runs}
    needed = {need for run in by_folder.values() for need in run.needs}
    last = len(by_folder)  # deeper than any chain
    grouped: dict[int, list[GridRun]] = {}
    for run in sorted(by_folder.values(), key=lambda run: run.config.run.seed):
        depth = _depth(run, by_folder) if run.folder in needed else last
        grouped.setdefault(depth, []).append(run)
    return [grouped[depth] for depth in sorted(grouped)]


def _axes(block: Block, given: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the values of each of a block's settings, narrowed or changed by those given."""
    axes = dict(split_setting(setting) for setting in block.settings)
    for key, values in given.items():
        picks = bool(block.settings) and "." not in key
        axes[key] = [own for own in axes.get(key, []) if own in values] if picks else values
    return axes


def _add(runs: dict[Path, GridRun], block: Block, chosen: Settings, out: Path) -> Path:
    """Add the run of these settings and all that it needs; return its folder."""
    settings = _of_role(chosen, "")
    needs_teacher = load_config(block.config, _overrides(settings)).objective.needs_teacher
    if not needs_teacher:
        chosen = {key: value for key, value in chosen.items() if not key.startswith("teacher.")}
    folder = out / _name(block.config, chosen)
    start = None
    if before := _of_role(chosen, "start."):
        common = {key: value for key, value in chosen.items() if not key.startswith("start.")}
        start = _add(runs, block, common | before, out)
        settings["model.init"] = str(start)
    teacher = _add_teacher(runs, block, chosen, out) if needs_teacher else None
    overrides = _overrides(settings)
    config = load_config(block.config, overrides)
    run = GridRun(folder, block.config, overrides, config, teacher, start)
    _check_same(runs.setdefault(folder, run), run)
    return folder


def _check_same(first: GridRun, second: GridRun) -> None:
    """Refuse two different runs of one folder (ValueError)."""
    for what in ("config", "teacher", "start"):
        if getattr(first, what) != getattr(second, what):
            raise ValueError(
                f"two runs of the grid have the folder {first.folder}, and not the same {what} "
                f"({first.command()!r} and {second.command()!r}); a folder is named by the "
                f"configuration and its settings: rename one configuration, or make two grids."
            )


def _add_teacher(runs: dict[Path, GridRun], block: Block, chosen: Settings, out: Path) -> Path:
    """Add the teacher of a run of these settings unless it is a finished run; return its folder."""
    if block.teacher is None:
        raise ValueError(
            "the grid names no teacher, which objective.kd and objective.fa need: name "
            "a configuration or the folder of a finished run, for example --teacher digits-teacher."
        )
    if (Path(block.teacher) / "run.json").is_file():
        return Path(block.teacher)
    data = {key: value for key, value in chosen.items() if _SHARED_WITH_TEACHER.match(key)}
    settings = data | _of_role(chosen, "teacher.")
    if load_config(block.teacher, _overrides(settings)).objective.needs_teacher:
        raise ValueError(
            f"{block.teacher} is not a teacher, since it needs one itself (by objective.kd or "
            f"objective.fa); take one trained by labels alone, such as digits-teacher."
        )
    return _add(runs, Block(config=block.teacher), settings, out)


def _of_role(chosen: Settings, role: str) -> Settings:
    """Return the settings of the run itself (role "") or of one that it needs."""
    split = {key: split_role(key) for key in chosen}
    return {split[key][1]: value for key, value in chosen.items() if split[key][0] == role}


def _overrides(settings: Settings) -> tuple[str, ...]:
    return tuple(f"{key}={value}" for key, value in settings.items())


def _name(config: str, chosen: Settings) -> str:
    """Return a folder name made of configuration and settings."""
    words = [Path(config).stem if config.endswith(".toml") else config]
    for key, value in chosen.items():
        role, own = split_role(key)
        if own not in PLACES:
            setting = f"{_short(own)}={value}" if "." in own else value
            words.append(role.replace(".", "-") + setting)
    return re.sub(r"[^\w.=+-]+", "_", "-".join(words))


def _short(key: str) -> str:
    """Return the shortest end of a setting's name that no other setting has.

    Examples
    --------
    >>> _short("run.seed"), _short("objective.fa.weight")
    ('seed', 'fa.weight')
    """
    parts, others = key.split("."), [name.split(".") for name in setting_names(Config)]
    sizes = range(1, len(parts))
    unique = (n for n in sizes if sum(other[-n:] == parts[-n:] for other in others) <= 1)
    return ".".join(parts[-next(unique, len(parts)) :])


def _depth(run: GridRun, runs: Mapping[Path, GridRun]) -> int:
    """Return the length of the longest chain of runs that must come before this one."""
    return max((1 + _depth(runs[need], runs) for need in run.needs if need in runs), default=0)
