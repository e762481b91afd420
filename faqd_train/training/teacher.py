"""The teacher's part of a step, taken once for all the runs that use the same batch."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack, nullcontext
from math import isfinite
from typing import Any, Self

import torch
from torch import Tensor, nn

from faqd_train.config.schema import Config, FoldedTeacherConfig
from faqd_train.networks.folding import InferenceCopy, inference_copy
from faqd_train.networks.precision import at_least_float32, running_in
from faqd_train.networks.taps import tapped
from faqd_train.training.compiling import Context, compiled
from faqd_train.training.graphs import GraphedFunction, check_graphs

CALIBRATION_IMAGES = 100  # on which a copy of the teacher is measured

Answers = tuple[Tensor, dict[str, Tensor]]  # logits, and maps by tap


class TeacherPass:
    """A teacher in evaluation mode, which remembers what it answered last.

    Parameters
    ----------
    network : nn.Module
        Put in evaluation mode, and tapped within a ``with`` statement.
    precision : {"float32", "bfloat16"}
        In which it runs.
    compiling : callable
        Makes the context in which it runs, by `compiled`.
    copied : InferenceCopy, optional
        Where the network is one of those, what was measured of it.
    graphed : bool
        Run it as a CUDA graph; an answer is then overwritten by the next one.

    Examples
    --------
    >>> network = nn.Sequential(nn.Flatten(), nn.ReLU())
    >>> with TeacherPass(network) as teacher:
    ...     teacher.tap(["0"])
    ...     _, (logits, maps) = teacher("first batch", lambda: torch.tensor([[-1.0, 2.0]]), None)
    ...     _, (again, _) = teacher("first batch", lambda: torch.tensor([[-1.0, 2.0]]), None)
    >>> logits, maps["0"], again is logits
    (tensor([[0., 2.]]), tensor([[-1.,  2.]]), True)
    """

    def __init__(
        self,
        network: nn.Module,
        precision: str = "float32",
        compiling: Context = nullcontext,
        copied: InferenceCopy | None = None,
        *,
        graphed: bool = False,
    ) -> None:
        self._network, self._precision, self._compiling = network.eval(), precision, compiling
        self._copied, self._wants_graph = copied, graphed
        self._graphed = GraphedFunction(self._answer) if graphed else None
        self._taps = ExitStack()
        self._maps: dict[str, dict[str, Tensor]] = {}  # by tap, the dictionary it refills
        self._batch_key: Hashable = None
        self._inputs = torch.empty(0)
        self._augment: Tensor | None = None  # the generator's state after they were made
        self._answers: Answers | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._taps.close()

    def tap(self, names: Sequence[str]) -> None:
        """Let the answers hold the maps of these modules, too (ValueError for an unknown one)."""
        new = [name for name in names if name not in self._maps]
        if new:
            maps = self._taps.enter_context(tapped(self._network, new))
            self._maps |= dict.fromkeys(new, maps)
            self._answers = None  # lack the new maps
            self._graphed = GraphedFunction(self._answer) if self._wants_graph else None

    def describe(self) -> dict[str, Any]:
        """Return for a run's record how the teacher answers: its precision, and a copy's errors.

        Errors are those of `inference_copy`, by tap and of the logits, None if they are not finite;
        ``refused`` has those for which bfloat16 was not taken.
        """
        if self._copied is None:
            return {"precision": self._precision}
        errors, refused = (
            {name or "logits": e if isfinite(e) else None for name, e in found.items()}
            for found in (self._copied.errors, self._copied.refused)
        )
        folded = len(self._copied.folded)
        return {"precision": self._precision, "folded": folded, "errors": errors} | (
            {"refused": refused} if refused else {}
        )

    def __call__(
        self, batch_key: Hashable, prepare: Callable[[], Tensor], augment: torch.Generator | None
    ) -> tuple[Tensor, Answers]:
        """Return a batch's inputs, and logits in float32 or wider and maps for them.

        Parameters
        ----------
        batch_key : hashable
            Says which batch it is. Equal keys promise equal inputs, without a look at them, for
            which the host would wait for the device: those remembered are returned.
        prepare : callable
            Makes the inputs, drawing from ``augment``.
        augment : torch.Generator, optional
            Left as `prepare` would leave it, where that is not called.
        """
        if self._answers is None or batch_key != self._batch_key:
            self._answers = None  # frees the memory before the next are made
            self._inputs = prepare()
            self._augment = None if augment is None else augment.get_state()
            if self._graphed:
                self._answers = self._graphed(self._inputs)
                self._graphed.join()
            else:
                self._answers = self._answer(self._inputs)
            self._batch_key = batch_key
        elif augment is not None and self._augment is not None:
            augment.set_state(self._augment)
        return self._inputs, self._answers

    def _answer(self, inputs: Tensor) -> Answers:
        # Tensors of inference mode do not record that a module overwrites them (taps).
        with torch.no_grad(), running_in(self._precision, inputs.device), self._compiling():
            logits = self._network(inputs)
        # Copies of the dictionaries: others, who capture maps, may run the network meanwhile.
        maps = {name: maps[name] for name, maps in self._maps.items()}
        return at_least_float32(logits), maps


def make_teacher_pass(
    network: nn.Module,
    config: Config,
    sample: Callable[[], Tensor],
    taps: Sequence[str] | None = None,
) -> TeacherPass:
    """Return the pass of a teacher, or of its folded copy, as the configuration says.

    ``sample`` makes a batch of `CALIBRATION_IMAGES` as the network takes them, not augmented. It
    is called only for a copy, which is measured on it. ``taps`` are the modules whose maps are
    needed, by default those of the objective. Refused (ValueError): `check_graphs`, and what
    `compiled` refuses.
    """
    run, precision = config.run, config.run.teacher.precision
    check_graphs(run.cuda_graph, _device(network))
    if not isinstance(run.teacher, FoldedTeacherConfig):
        compiling = _compiling(network, run.compile)
        return TeacherPass(network, precision, compiling, graphed=run.cuda_graph)
    copied = inference_copy(
        network,
        sample(),
        config.objective.teacher_tapped if taps is None else taps,
        precision=precision,
        tolerance=run.teacher.tolerance,
    )
    compiling = _compiling(copied.network, run.compile)
    return TeacherPass(copied.network, copied.precision, compiling, copied, graphed=run.cuda_graph)


def _compiling(network: nn.Module, wanted: bool) -> Context:
    return compiled(network, _device(network)) if wanted else nullcontext


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters(), torch.empty(0)).device
