"""`mlcslm alignments`: writes what a system heard, word by word, in sclite's formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlcslm.cli.configuration import Configuration, Database

EXAMPLES = """
**Examples**

    mlcslm alignments ckpt-7000/greedy alignments
    mlcslm alignments whisper-base alignments/fr --split test --group French
    sclite -r alignments/ref.trn trn -h alignments/hyp.trn trn -i rm -s -e utf-8
"""


def register(app: typer.Typer) -> None:
    """Add `alignments` to `app`."""
    app.command("alignments", epilog=EXAMPLES)(alignments)


def alignments(
    system: Annotated[str, typer.Argument(metavar="SYSTEM", help="A scored system, e.g. ckpt-7000/greedy.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write: new, or from an earlier run.")],
    configfile: Configuration = None,
    database: Database = None,
    split: Annotated[str, typer.Option(help="dev or test.")] = "dev",
    group: Annotated[
        list[str] | None, typer.Option(help="Language or accent; may be repeated. All by default.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace DIR of an earlier run even if files were added to it.")
    ] = False,
) -> None:
    """Write a system's answers aligned with the references: ref.trn, hyp.trn and, word by word, hyp.prf.

    Texts are the tokens that are scored. Both .trn files can be given to NIST's sclite; hyp.prf has the form of its
    own alignments. To compare two systems word by word, see the report's page Words.
    """
    from mlcslm.cli.configuration import database_of
    from mlcslm.results.alignments import export_alignments

    written = export_alignments(
        database_of(database, configfile), system, folder, split=split, groups=group or (), force=force
    )
    typer.echo(f"{folder}: {written.utterances:,} utterances, {written.errors:,} errors / {written.length:,}")
