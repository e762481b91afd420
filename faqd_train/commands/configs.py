"""``faqd-train configs``: the packaged configurations, and all settings of one."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console
from rich.table import Table

from faqd_train.config.describe import describe_config
from faqd_train.config.files import describe, load_config, packaged_configs, packaged_parts
from faqd_train.grids.files import packaged_grids


def add_parser(commands: Any) -> None:
    """Add ``configs`` to the commands of a parser."""
    text = "list the packaged configurations, parts and grids, or show one configuration"
    configs = commands.add_parser("configs", help=text, description=text)
    configs.add_argument(
        "--show",
        metavar="NAME",
        help="print a configuration as a TOML file: every setting, its default and its meaning",
    )
    configs.add_argument(
        "settings", nargs="*", metavar="section.key=value", help="change what is shown"
    )
    configs.set_defaults(call=run)


def run(options: argparse.Namespace) -> None:
    """Print one configuration, or the names of all with their opening comments."""
    if options.show is not None:
        print(describe_config(load_config(options.show, options.settings)), end="")
        return
    if options.settings:
        raise ValueError(f"{options.settings[0]} changes nothing without --show NAME: add it.")
    console = Console(markup=False, highlight=False)
    for title, entries in (
        ("Configurations: faqd-train distill NAME", {n: describe(n) for n in packaged_configs()}),
        *(
            (f"Parts: {kind}=NAME", {name: describe(f"{kind}/{name}") for name in names})
            for kind, names in packaged_parts().items()
        ),
        ("Grids: faqd-train grid NAME", packaged_grids()),
    ):
        table = Table(title=title, title_justify="left", box=None, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column()
        for name, comment in entries.items():
            table.add_row(name, comment)
        console.print(table)
