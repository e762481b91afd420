"""``faqd-train import``: a run folder from the weights of a network that was trained elsewhere."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from faqd_train.config.files import load_config
from faqd_train.networks.precision import find_device
from faqd_train.runs.importing import import_network


def add_parser(commands: Any) -> None:
    """Add ``import`` to the commands of a parser."""
    text = "make a run folder of weights that were trained elsewhere, for a teacher or a start"
    command = commands.add_parser("import", help=text, description=text)
    command.add_argument("checkpoint", type=Path, help="a state dict: .pth, .safetensors, …")
    command.add_argument(
        "settings",
        nargs="*",
        metavar="section.key=value",
        help="the data and their normalisation, such as data.name=cifar10 data.dir=DIR",
    )
    command.add_argument("--out", type=Path, required=True, help="folder of the run")
    command.add_argument("--overwrite", action="store_true", help="replace the run there")
    command.add_argument(
        "--network",
        metavar="MODULE:FUNCTION",
        help="what makes the network, if it is not a built-in one; its arguments in model.options",
    )
    command.add_argument("--accuracy", type=float, help="on the test images as published, in %%")
    command.add_argument(
        "--trained-on",
        choices=("train", "unknown"),
        default="unknown",
        help="train: on all training images, so that no validation images were held out",
    )
    command.add_argument("--licence", help="of the weights, for the record")
    command.add_argument("--source", help="where the weights come from, for the record")
    command.add_argument("--device", default="cpu", help="cpu (default), cuda, …")
    command.set_defaults(call=run)


def run(options: argparse.Namespace) -> None:
    """Import the network and print how good it is."""
    network = [] if options.network is None else [f'model.factory="{options.network}"']
    config = load_config("imported", [*network, *options.settings])
    record = import_network(
        options.checkpoint,
        options.out,
        config,
        source=options.source,
        licence=options.licence,
        trained_on=options.trained_on,
        accuracy=None if options.accuracy is None else options.accuracy / 100,
        overwrite=options.overwrite,
        device=find_device(options.device),
    )
    model = record["config"]["model"]
    name = model.get("factory") or f"{model['kind']} of depth {model['depth']}"
    share = record["test_accuracy"]
    known = "unknown, as there are no labels" if share is None else f"{share:.2%}"
    print(f"{name}; accuracy on test: {known}; the run is in {options.out}")
