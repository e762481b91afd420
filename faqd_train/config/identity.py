"""A short name for all that decides a run but chance and places: what its record is named by."""

from __future__ import annotations

import json
from hashlib import sha256

from faqd_train.config.schema import Config

LENGTH = 10  # hexadecimal digits


def config_hash(config: Config, *, teacher: str | None = None, start: str | None = None) -> str:
    """Return a hash of all settings but the seed and where files lie.

    ``run.seed``, ``data.dir`` and ``data.cache`` are left out, and of ``model.init`` the folder's
    name: only whether there is one counts. ``run.data_seed`` counts, since runs that share their
    batches are another experiment than runs that do not.

    Parameters
    ----------
    config : Config
    teacher, start : str, optional
        What identifies the teacher and the run that ``model.init`` names, such as the
        `config_hash` of theirs.

    Returns
    -------
    str
        Ten hexadecimal digits. A setting that a later version adds changes them.

    Examples
    --------
    >>> from faqd_train.config.files import load_config
    >>> first, second = (load_config("digits-fa", [f"run.seed={seed}"]) for seed in (0, 1))
    >>> config_hash(first) == config_hash(second)
    True
    >>> config_hash(load_config("digits-fa", ["optimizer.lr=0.2"])) == config_hash(first)
    False
    """
    settings = config.settings()
    del settings["run"]["seed"]
    settings["model"]["init"] = config.model.init is not None
    text = json.dumps([settings, teacher, start], sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:LENGTH]
