"""`mlcslm convert`: a manifest as other tools read it. The way back is `mlcslm manifest`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

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
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write; new, or of an earlier run.")],
    to: Annotated[
        Literal["kaldi", "lhotse"],
        typer.Option(help="kaldi: wav.scp, segments, text, …; lhotse: recordings and supervisions."),
    ],
    languages: Annotated[Path | None, typer.Option(help="The languages table.")] = None,
) -> None:
    """Write a manifest as a Kaldi data folder, or as Lhotse's recordings and supervisions.

    `mlcslm manifest DIR` reads both back: ids, times and transcripts are kept as they are.
    """
    from mlcslm.cli.score import find_languages
    from mlcslm.config.languages import read_languages
    from mlcslm.corpus.kaldi import write_kaldi_folder
    from mlcslm.corpus.lhotse import write_lhotse_folder
    from mlcslm.corpus.manifest import read_manifest

    rows = read_manifest(manifest).to_pylist()
    if to == "kaldi":
        write_kaldi_folder(rows, folder)
    else:
        groups = read_languages(languages or find_languages())
        write_lhotse_folder(rows, folder, {name: group.language for name, group in groups.items()})
    sessions = len({row["session_id"] for row in rows})
    typer.echo(f"{folder}: {len(rows)} utterances, {sessions} recordings for {to.capitalize()}")
