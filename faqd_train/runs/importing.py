"""Run folders of networks that were trained elsewhere."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import torch

from faqd_train import data
from faqd_train.config.schema import Config
from faqd_train.files import file_sha256
from faqd_train.networks.building import build_network
from faqd_train.networks.foreign_weights import read_state, recognise, take_in
from faqd_train.runs.folder import RECORD, WEIGHTS, clear_folder, finished_run, lock_folder
from faqd_train.runs.load import evaluate
from faqd_train.runs.record import SCHEMA, Record, environment, save_weights, write_record
from faqd_train.training.seeds import make_streams

ACCURACY_TOLERANCE = 2e-4  # as rounding on another machine may move an image or two in 10,000


@dataclass(frozen=True)
class Origin:
    """Where weights come from, for the record."""

    file: str
    sha256: str
    source: str | None = None
    licence: str | None = None
    # "train": on all training images, so that a validation split of them is not held out.
    trained_on: Literal["train", "unknown"] = "unknown"


def import_network(
    checkpoint: Path,
    out: Path,
    config: Config,
    *,
    source: str | None = None,
    licence: str | None = None,
    trained_on: Literal["train", "unknown"] = "unknown",
    accuracy: float | None = None,
    overwrite: bool = False,
    device: torch.device | None = None,
) -> Record:
    """Make a finished run of weights in a file, to be a teacher or a start.

    Parameters
    ----------
    checkpoint : Path
        A state dict: see `foreign_weights.read_state`. No code in it is run.
    out : Path
        Folder of the run to write.
    config : Config
        Its data section names the images and the normalisation that the network was trained with;
        its model section the network. A built-in ResNet in its place is replaced by the one that
        the weights are recognised as.
    source, licence : str, optional
        Recorded.
    trained_on : {"train", "unknown"}
        Recorded; see `Origin`.
    accuracy : float, optional
        On the test images, from 0 to 1, as published. Another one here is refused.
    overwrite : bool
        Replace a run that ``out`` holds.
    device : torch.device, optional
        Where the accuracy is measured.

    Returns
    -------
    dict
        What run.json holds. Accuracies are None where the images have no labels.

    Raises
    ------
    ValueError
        If the file holds no weights of the network, the folder holds a run, or the accuracy is
        not that given.
    """
    with lock_folder(out):
        finished_run(out, config, overwrite=overwrite, resume=False)
        state = read_state(checkpoint)
        known = recognise(state) if config.model.kind != "factory" else None
        if known is None and config.model.kind != "factory":
            raise ValueError(
                f"the weights in {checkpoint} are of no built-in network; those of CIFAR's "
                f"post-activation ResNets are recognised: name the function that makes the network "
                f"by --network MODULE:FUNCTION."
            )
        shape = data.describe(config.data)
        if known is not None:
            state, config = known.state, config.model_copy(update={"model": known.model})
            if known.classes != shape.classes:
                raise ValueError(
                    f"the weights in {checkpoint} give {known.classes} logits and the data have "
                    f"{shape.classes} classes; equal numbers are accepted: name the data set that "
                    f"they were trained on."
                )
        network = build_network(
            config.model, config.quantization, shape, make_streams(config.run.seed).weights
        )
        take_in(network, state, checkpoint)
        network.eval()
        device = device or torch.device("cpu")
        network.to(device)
        shares = {
            split: evaluate(network, config, split) if data.has_labels(config.data, split) else None
            for split in ("validation", "test")
        }
        _check_accuracy(shares["test"], accuracy)
        clear_folder(out, resume=False)
        record: Record = {
            "schema": SCHEMA,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "config": config.model_dump(mode="json"),
            "data": {"train_sha256": None, "train": None, "validation": None},
            "init": None,
            "teacher": None,
            "teacher_pass": None,
            "imported": asdict(
                Origin(checkpoint.name, file_sha256(checkpoint), source, licence, trained_on)
            ),
            "environment": environment(device, 1),
            "epochs": [],
            "seconds": 0.0,
            "validation_accuracy": shares["validation"],
            "test_accuracy": shares["test"],
            "weight_levels": {},
            "activation_steps": {},
            "weights_sha256": save_weights(out / WEIGHTS, network.state_dict()),
            "adapters_sha256": None,
        }
        write_record(out / RECORD, record)
    return record


def _check_accuracy(found: float | None, given: float | None) -> None:
    if given is None:
        return
    if found is None:
        raise ValueError(
            "an accuracy is given, but the test images have no labels to measure it by: leave it "
            "out, or name data with labels."
        )
    if abs(found - given) > ACCURACY_TOLERANCE:
        raise ValueError(
            f"the network's test accuracy is {found:.2%} here and {given:.2%} as given; a "
            f"difference of {ACCURACY_TOLERANCE:.2%} at most is accepted: give the normalisation "
            f"that it was trained with in data.mean and data.std."
        )
