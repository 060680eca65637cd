"""`mlcslm show`: prints the tables of a results database."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from mlcslm.cli.configuration import Configuration, Database

EXAMPLES = """
**Examples**

    mlcslm show
    mlcslm show table6
    mlcslm show table6 --no-published --format markdown
    mlcslm show groups --format csv --configfile config/small.yaml mine.yaml
"""


def register(app: typer.Typer) -> None:
    """Add `show` to `app`."""
    app.command("show", epilog=EXAMPLES)(show)


def show(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="table1 … table8, systems or groups; without it, list them."),
    ] = None,
    configfile: Configuration = None,
    database: Database = None,
    form: Annotated[
        Literal["text", "markdown", "csv", "json"], typer.Option("--format", help="Output format.")
    ] = "text",
    published: Annotated[
        bool | None,
        typer.Option(
            "--published/--no-published",
            help="Show the paper's numbers too; by default as the run's configuration has it (report.published).",
        ),
    ] = None,
) -> None:
    """Print a table of the results, with its 95 % intervals and the paper's numbers.

    Numbers are from the last run that built a table; `mlcslm status` lists what remains to be done.
    """
    from mlcslm.cli.configuration import database_of
    from mlcslm.cli.text_table import print_grid
    from mlcslm.results.tables import render_table, renderable_names

    path = database_of(database, configfile)
    if name is None:
        for known, title in renderable_names(path):
            typer.echo(f"{known:9}{title}")
        return
    rendered = render_table(path, name, published=published)
    print_grid(rendered.title, rendered.columns, rendered.rows, rendered.numeric, form)
