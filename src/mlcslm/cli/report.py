"""`mlcslm report`: builds the report of a results database, without the workflow that made it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlcslm.cli.configuration import Configuration, Database


def register(app: typer.Typer) -> None:
    """Add `report` to `app`."""
    app.command("report")(report)


def report(
    configfile: Configuration = None,
    database: Database = None,
    out: Annotated[
        Path | None,
        typer.Option(help="New folder, or an earlier report; by default `report` beside the database."),
    ] = None,
    audio: Annotated[bool, typer.Option(help="Include the sessions' audio, to listen to utterances.")] = True,
    published: Annotated[
        bool | None,
        typer.Option(
            "--published/--no-published",
            help="Show the paper's numbers too; by default as the run's configuration has it (report.published).",
        ),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads for copying audio.")] = 1,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier report even if files were added to it.")
    ] = False,
) -> None:
    """Build the report: pages that open from disk, with charts, heat maps and a browser of utterances and errors.

    The workflow builds it too: `snakemake results/report/index.html`. This command needs only a database, for instance
    after `mlcslm evaluate` has added to it. Prints the path of the first page.
    """
    from mlcslm.cli.configuration import database_of
    from mlcslm.report.build import build_report

    found = database_of(database, configfile)
    folder = out or found.parent / "report"
    build_report(found, folder, audio=audio, published=published, threads=threads, force=force)
    typer.echo(folder / "index.html")
