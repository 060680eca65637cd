"""`mlcslm show`: the tables of a results database at the terminal."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from mlcslm.cli.configuration import Configuration, Database

EXAMPLES = """
**Examples**

    mlcslm show
    mlcslm show table6
    mlcslm show groups --format csv --configfile config/small.yaml mine.yaml
"""


def register(app: typer.Typer) -> None:
    """Add `show` to `app`."""
    app.command("show", epilog=EXAMPLES)(show)


def show(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="table1 … table7, systems, or groups; none lists them.")
    ] = None,
    configfile: Configuration = None,
    database: Database = None,
    form: Annotated[
        Literal["text", "markdown", "csv", "json"], typer.Option("--format", help="How to print it.")
    ] = "text",
) -> None:
    """Print a table of the results, with its 95 % intervals and the paper's numbers.

    Numbers are those of the last run that made a table; `mlcslm status` tells what there is still to do.
    """
    from mlcslm.cli.configuration import database_of
    from mlcslm.cli.text_table import print_grid
    from mlcslm.results.tables import render_table, renderable_names

    path = database_of(database, configfile)
    if name is None:
        for known, title in renderable_names(path):
            typer.echo(f"{known:9}{title}")
        return
    rendered = render_table(path, name)
    print_grid(rendered.title, rendered.columns, rendered.rows, rendered.numeric, form)
