"""`mlcslm manifest`: from a corpus on disk to the manifest that every later step reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlcslm.errors import FaultyInput


def register(app: typer.Typer) -> None:
    """Add the corpus commands to `app`."""
    app.command("manifest")(manifest)


def manifest(
    root: Annotated[Path, typer.Argument(help="One split of a corpus in the MLC-SLM layout.")],
    out: Annotated[Path, typer.Option(help="The manifest to write (Parquet).")],
    languages: Annotated[Path, typer.Option(help="The languages table.")] = Path("config/languages.tsv"),
    skip_faulty: Annotated[
        bool, typer.Option("--skip-faulty", help="Go on without what is faulty; record it in OUT.faults.tsv.")
    ] = False,
) -> None:
    """List a corpus's utterances, with their official ids, in a Parquet file.

    Every fault of the corpus is listed with its file and line; nothing is then written, and the exit status is 1.
    """
    from mlcslm.config.languages import read_languages
    from mlcslm.corpus.faults import describe_faults, faults_path, write_faults
    from mlcslm.corpus.manifest import build_manifest, write_manifest

    record = faults_path(out)
    try:
        table, faults = build_manifest(root, read_languages(languages), skip_faulty=skip_faulty)
    except FaultyInput as error:
        title = str(error).splitlines()[0]
        remedy = "Nothing was written." if skip_faulty else "Nothing was written; correct them, or give --skip-faulty."
        raise FaultyInput(f"{title} {remedy}", error.faults) from error
    if skip_faulty:
        write_faults(record, faults)
        typer.echo(f"{record}: left out {describe_faults(faults)}")
    else:
        record.unlink(missing_ok=True)
    write_manifest(table, out)
    sessions, groups = (len(table.column(name).unique()) for name in ("session_id", "grp"))
    hours = sum(table.column("end").to_numpy() - table.column("start").to_numpy()) / 3600
    typer.echo(f"{out}: {table.num_rows} utterances, {sessions} sessions, {groups} groups, {hours:.2f} h of segments")
