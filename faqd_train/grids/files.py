"""Read grids: blocks of settings with several values each."""

from __future__ import annotations

import re
from importlib.resources import as_file, files
from pathlib import Path

from pydantic import Field

from faqd_train.config.files import (
    opening_comment,
    packaged_configs,
    read_toml,
    split_override,
)
from faqd_train.config.section import Section
from faqd_train.config.tables import Table, check_table, nearest

# Prefixes of keys: a setting of the run that this run starts from, or of its teacher.
ROLES = ("start.", "teacher.")
# Places of files change no result: they are not part of a run's name, and equal for all runs.
PLACES = ("data.dir", "data.cache")

_GRIDS = files("faqd_train.grids") / "presets"
# A value: a list, a table, a quoted string, or text without a comma.
_VALUES = re.compile(r"(?:^|,)\s*(\[[^]]*]|\{[^}]*}|\"[^\"]*\"|'[^']*'|[^,]*?)\s*(?=,|$)")


class Block(Section):
    """Runs of one configuration, one for each combination of the settings' values."""

    config: str
    teacher: str | None = None  # a configuration, or the folder of a finished run
    settings: tuple[str, ...] = ()


class _GridFile(Section):
    """A grid's file; config and teacher are the defaults of its blocks."""

    config: str | None = None
    teacher: str | None = None
    runs: list[Table] = Field(min_length=1)


def packaged_grids() -> dict[str, str]:
    """Return the grids that the package ships: their comments by their names.

    Examples
    --------
    >>> "digits" in packaged_grids()
    True
    """
    entries = [entry for entry in _GRIDS.iterdir() if entry.name.endswith(".toml")]
    comments = {entry.name[:-5]: opening_comment(entry.read_text("utf-8")) for entry in entries}
    return dict(sorted(comments.items()))


def read_blocks(name: str) -> list[Block]:
    """Return the blocks of a grid, or one for each of several configurations.

    Raises
    ------
    ValueError
        In one sentence: an unknown name, with the nearest; a file that is not a grid.
    """
    if name in packaged_grids():
        with as_file(_GRIDS / f"{name}.toml") as path:
            return _check_blocks(read_toml(path))
    path = Path(name)
    if path.suffix == ".toml" and path.is_file() and "runs" in (table := read_toml(path)):
        return _check_blocks(table)
    return [Block(config=_known(config)) for config in name.split(",")]


def split_setting(setting: str) -> tuple[str, list[str]]:
    """Return a setting's key and its values.

    Raises
    ------
    ValueError
        If the key is unknown, or a place has several values.

    Examples
    --------
    >>> split_setting("model.widths=[4, 4, 8],[8, 8, 8]")
    ('model.widths', ['[4, 4, 8]', '[8, 8, 8]'])
    >>> split_setting("start.objective.fa.probes={k=1, law='sphere'},none")
    ('start.objective.fa.probes', ["{k=1, law='sphere'}", 'none'])
    """
    role, rest = split_role(setting)
    key, text = split_override(rest)
    values = _VALUES.findall(text)
    if key in PLACES and len(values) > 1:
        raise ValueError(
            f"{role}{key} has {len(values)} values in {setting!r}; one is accepted, as it is not "
            f"part of a run's name: give one, quoted if its path has a comma, or make several "
            f"grids."
        )
    return role + key, values


def split_role(key: str) -> tuple[str, str]:
    """Split a key into one of `ROLES` or nothing, and the rest.

    Examples
    --------
    >>> split_role("teacher.optimizer.epochs"), split_role("run.seed")
    (('teacher.', 'optimizer.epochs'), ('', 'run.seed'))
    """
    role = next((role for role in ROLES if key.startswith(role)), "")
    return role, key.removeprefix(role)


def _check_blocks(table: Table) -> list[Block]:
    grid = check_table(_GridFile, table)
    shared = {"config": grid.config, "teacher": grid.teacher}
    shared = {key: value for key, value in shared.items() if value is not None}
    return [check_table(Block, shared | given) for given in grid.runs]


def _known(config: str) -> str:
    """Return the name of a configuration, or refuse what names neither that nor a grid."""
    grids, configs = packaged_grids(), packaged_configs()
    if config in configs or config.endswith(".toml"):
        return config
    raise ValueError(
        f"grid {config!r} is unknown{nearest(config, [*grids, *configs])}; one of "
        f"{', '.join(grids)}, configurations with commas between them, or a path "
        f"ending in .toml is accepted."
    )
