"""All studies by name."""

from __future__ import annotations

from collections.abc import Mapping

from analysis.studies import (
    affinities,
    complexity,
    cost,
    estimators,
    fixed_probes,
    floating_point,
    gradient_noise,
    orders,
    probe_errors,
    quantizers,
    ranks,
    speed,
)
from analysis.studies.study import Study

_MODULES = (
    probe_errors,
    cost,
    complexity,
    speed,
    gradient_noise,
    estimators,
    fixed_probes,
    orders,
    floating_point,
    quantizers,
    ranks,
    affinities,
)
STUDIES: Mapping[str, Study] = {module.STUDY.name: module.STUDY for module in _MODULES}
