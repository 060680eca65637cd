"""The option that names a run's configuration, as Snakemake's `--configfile` and `--config` do, for every command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mlcslm.config.schema import Config

DEFAULT = "config/demo.yaml"
RESULTS = Path("results/results.duckdb")
_OPTIONS = ("--configfile", "--config")

Configuration = Annotated[
    list[str] | None,
    typer.Option(
        "--configfile",
        "--config",
        metavar="FILE...",
        help=f"The run's configuration, by default {DEFAULT}: files and key=value settings, merged as Snakemake does.",
    ),
]
Database = Annotated[
    Path | None,
    typer.Option(help=f"Results database; by default that of --configfile, or else {RESULTS}."),
]


def configuration(given: Sequence[str] | None) -> Config:
    """The configuration that `Configuration` names. Settings alone change the default, as in the workflow."""
    from mlcslm.config.reading import is_setting, read_config_files

    given = list(map(str, given or ()))
    return read_config_files(given if any(not is_setting(one) for one in given) else [DEFAULT, *given])


def database_of(database: Path | None, given: Sequence[str] | None) -> Path:
    """The database that `Database` names, or that of the configuration."""
    if database is not None or not given:
        return database or RESULTS
    from mlcslm.workflow.layout import Layout

    return Layout(configuration(given)).database()


def spread(arguments: Sequence[str]) -> list[str]:
    """`arguments` with the option before each configuration, where one stands before several as Snakemake takes them.

    What is swallowed are YAML and JSON files, and settings; any other argument is the command's own.

    >>> spread(["status", "--configfile", "small.yaml", "mine.yaml", "--all"])
    ['status', '--configfile', 'small.yaml', '--configfile', 'mine.yaml', '--all']
    """
    found: list[str] = []
    option = ""  # that takes what follows; empty where none does
    first = False
    for argument in arguments:
        if argument.startswith("-"):
            name, equals, _ = argument.partition("=")
            option, first = (name, not equals) if name in _OPTIONS else ("", False)
        elif option and not first and _is_configuration(argument):
            found.append(option)
        elif first:
            first = False
        else:
            option = ""
        found.append(argument)
    return found


def _is_configuration(argument: str) -> bool:
    from mlcslm.config.reading import is_setting

    return argument.endswith((".yaml", ".yml", ".json")) or is_setting(argument)
