"""`mlcslm convert`: writes a manifest for other tools; `mlcslm manifest` reads it back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mlcslm.errors import UserError

EXAMPLES = """
**Examples**

    mlcslm convert results/manifests/dev.parquet data/dev --to kaldi
    mlcslm convert results/manifests/dev.parquet manifests/dev --to lhotse
    mlcslm manifest data/dev --out dev.parquet
"""


def register(app: typer.Typer) -> None:
    """Add `convert` to `app`."""
    app.command("convert", epilog=EXAMPLES)(convert)


def convert(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="A manifest (Parquet).")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write: new, or from an earlier run.")],
    to: Annotated[
        Literal["kaldi", "lhotse"],
        typer.Option(help="kaldi: wav.scp, segments, text, …; lhotse: recordings and supervisions."),
    ],
    languages: Annotated[Path | None, typer.Option(help="The languages table.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace DIR of an earlier run even if files were added to it.")
    ] = False,
) -> None:
    """Write a manifest as a Kaldi data folder, or as Lhotse's recordings and supervisions.

    `mlcslm manifest DIR` reads both back: ids, times and transcripts are unchanged, except for white space that Kaldi's
    own validation refuses. Changes are reported.
    """
    from mlcslm.cli.score import find_languages
    from mlcslm.config.languages import read_languages
    from mlcslm.corpus.kaldi import write_kaldi_folder
    from mlcslm.corpus.lhotse import write_lhotse_folder
    from mlcslm.corpus.manifest import read_manifest
    from mlcslm.runtime.progress import say

    rows = read_manifest(manifest).to_pylist()
    changes: list[str] = []
    if to == "kaldi":
        changes = write_kaldi_folder(rows, folder, force=force, inputs=[manifest])
    else:
        table = languages or find_languages()
        codes = {name: group.language for name, group in read_languages(table).items()}
        if unknown := sorted({row["grp"] for row in rows} - codes.keys()):
            raise UserError(
                f"{manifest}: its groups {', '.join(unknown)} are not in {table}. Name the languages table that it was "
                "made with: --languages FILE."
            )
        write_lhotse_folder(rows, folder, codes, force=force, inputs=[manifest])
    for change in changes:
        say(change)
    sessions = len({row["session_id"] for row in rows})
    typer.echo(f"{folder}: {len(rows)} utterances, {sessions} recordings for {to.capitalize()}")
