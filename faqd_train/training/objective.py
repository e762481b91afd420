"""The training objective of §7: named terms, and their weighted sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from faqd_train.config.objective import AffinityConfig, KlConfig, MseConfig, ObjectiveConfig
from faqd_train.losses.affinity import fa_loss, ffa_loss, sample_probes
from faqd_train.losses.batching import quick_dtype
from faqd_train.training.distributed import part_of

MapPairs = Sequence[tuple[Tensor, Tensor]]


def objective_terms(
    logits: Tensor,
    *,
    config: ObjectiveConfig,
    teacher_logits: Tensor | None = None,
    map_pairs: MapPairs = (),
    labels: Tensor | None = None,
    probes: torch.Generator,
    batch_size: int | None = None,
    compiled: bool = False,
) -> dict[str, Tensor]:
    """Return the unweighted terms of an objective, by name.

    Parameters
    ----------
    logits : Tensor (B, classes)
        The student's.
    config : ObjectiveConfig
        Weights and kinds of the terms.
    teacher_logits : Tensor (B, classes), optional
        For "kd".
    map_pairs : pairs of Tensors (B, C, H, W)
        For "fa": the student's adapted map and the teacher's, one pair per tap.
    labels : Tensor (B,), int64, optional
        For "label".
    probes : torch.Generator
        Draws fresh probes for FFA at every call.
    batch_size : int, optional
        Images of all processes together, where each of several has a part of a batch. They draw
        the probes of the whole alike.
    compiled : bool
        Let torch.compile fuse FA and FFA, which pays on a GPU.
    """
    terms = {}
    if config.kd is not None and teacher_logits is not None:
        terms["kd"] = distillation(logits, teacher_logits, config.kd)
    if config.fa is not None:
        terms["fa"] = torch.stack(
            [
                affinity_term(*pair, config.fa, probes, batch_size, compiled=compiled)
                for pair in map_pairs
            ]
        ).sum()
    if config.label is not None and labels is not None:
        terms["label"] = functional.cross_entropy(logits, labels)
    return terms


def weighted_sum(terms: dict[str, Tensor], config: ObjectiveConfig) -> Tensor:
    """Return the loss: each term times its weight, summed."""
    return torch.stack([config.weights[name] * term for name, term in terms.items()]).sum()


def distillation(logits: Tensor, teacher_logits: Tensor, config: MseConfig | KlConfig) -> Tensor:
    """Return the mean squared error of logits, or T²·KL of the softened outputs at T.

    Examples
    --------
    >>> logits, teacher_logits = torch.tensor([[1.0, 3.0]]), torch.tensor([[1.0, 1.0]])
    >>> distillation(logits, teacher_logits, MseConfig(weight=1.0))
    tensor(2.)
    """
    if isinstance(config, MseConfig):
        return functional.mse_loss(logits, teacher_logits)
    temperature = config.temperature
    soft = functional.log_softmax(logits / temperature, dim=1)
    target = functional.log_softmax(teacher_logits / temperature, dim=1)
    divergence = functional.kl_div(soft, target, reduction="batchmean", log_target=True)
    return temperature**2 * divergence


def affinity_term(
    student: Tensor,
    teacher: Tensor,
    config: AffinityConfig,
    generator: torch.Generator,
    batch_size: int | None = None,
    *,
    compiled: bool = False,
) -> Tensor:
    """Return FA of one tap, exact or by fresh probes; arguments as in `objective_terms`.

    NaN among the maps comes out as NaN, which the training's guard sees without a wait.
    """
    if config.probes is None:
        exact = _compiled(fa_loss) if compiled else fa_loss
        return exact(student, teacher, order=config.order, check=False)
    probes = sample_probes(
        student.shape[2] * student.shape[3],
        config.probes.k,
        law=config.probes.law,
        generator=generator,
        batch=batch_size or len(student),
        dtype=quick_dtype(student, teacher),
        device=student.device,
    )
    fast = _compiled(ffa_loss) if compiled else ffa_loss
    return fast(
        student,
        teacher,
        order=config.order,
        probes=part_of(probes),
        gradient=config.probes.gradient,
        check=False,
    )


@cache
def _compiled(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return torch.compile(loss, dynamic=False)
