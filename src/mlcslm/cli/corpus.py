"""`mlcslm manifest`: lists a corpus on disk in the manifest that every later step reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mlcslm.errors import FaultyInput

if TYPE_CHECKING:
    from mlcslm.corpus.statistics import CorpusStatistics

EXAMPLES = """
**Examples**

    mlcslm manifest corpora/mine/dev --out dev.parquet
    mlcslm manifest corpora/mine/dev --out dev.parquet --stats --other train.parquet
    mlcslm manifest data/kaldi --out dev.parquet --skip-faulty
    mlcslm manifest calls --out dev.parquet --language de
"""
_LISTED_OUTLIERS = 5


def register(app: typer.Typer) -> None:
    """Add the corpus commands to `app`."""
    app.command("manifest", epilog=EXAMPLES)(manifest)


def manifest(
    root: Annotated[
        Path,
        typer.Argument(help="One split of a corpus: MLC-SLM layout, Kaldi, Lhotse, or recordings beside transcripts."),
    ],
    out: Annotated[Path, typer.Option(help="The manifest to write (Parquet).")],
    languages: Annotated[
        Path | None,
        typer.Option(help="Languages table; by default config/languages.tsv here, or else in mlcslm's own checkout."),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            help="Language of a folder of recordings with transcripts beside them (TextGrid, ELAN, SRT, …): de, en-US."
        ),
    ] = None,
    skip_faulty: Annotated[
        bool, typer.Option("--skip-faulty", help="Skip what is faulty, and list it in OUT.faults.tsv.")
    ] = False,
    every_fault: Annotated[
        bool, typer.Option("--every-fault", help="List every fault, even if many are of one kind.")
    ] = False,
    channels: Annotated[
        Literal["ask", "mean"],
        typer.Option(help="Recordings with a speaker on each channel: refuse them (ask), or average the channels."),
    ] = "ask",
    stats: Annotated[
        bool, typer.Option("--stats", help="Print statistics and outliers of the corpus; write OUT.stats.json.")
    ] = False,
    other: Annotated[
        list[Path] | None, typer.Option(help="With --stats: manifest of another split, to find sessions in both.")
    ] = None,
) -> None:
    """List a corpus's utterances, with their official ids, in a Parquet file.

    Every fault of the corpus is listed with its file and line; then nothing is written, and the exit status is 1.
    """
    from mlcslm.cli.score import find_languages
    from mlcslm.config.languages import read_languages
    from mlcslm.corpus.faults import describe_faults, record_faults
    from mlcslm.corpus.manifest import check_manifest_file, read_corpus, read_manifest, write_manifest
    from mlcslm.evaluation.transcribed_folder import reader_of
    from mlcslm.runtime.progress import say

    check_manifest_file(out)  # before reading, which can take an hour
    table_of_languages = read_languages(languages or find_languages())
    reader = reader_of(root, language, table_of_languages)
    others = {str(path): read_manifest(path) for path in other or []}
    try:
        reading = read_corpus(
            root,
            table_of_languages,
            reader=reader,
            skip_faulty=skip_faulty,
            channels=channels,
            levels=stats,
            every_fault=every_fault,
        )
    except FaultyInput as error:
        title = str(error).splitlines()[0]
        remedy = "Nothing was written." if skip_faulty else "Nothing was written; correct them, or add --skip-faulty."
        raise FaultyInput(f"{title} {remedy}", error.faults) from error
    table, faults = reading.table, reading.faults
    write_manifest(table, out)
    record = record_faults(out, faults if skip_faulty else None)
    if skip_faulty:
        typer.echo(f"{record or out}: skipped {describe_faults(faults)}")
    for notice in reading.notices:
        say(notice)
    sessions, groups = (len(table.column(name).unique()) for name in ("session_id", "grp"))
    hours = sum(table.column("end").to_numpy() - table.column("start").to_numpy()) / 3600
    typer.echo(f"{out}: {table.num_rows} utterances, {sessions} sessions, {groups} groups, {hours:.2f} h of segments")
    if stats:
        from mlcslm.corpus.statistics import corpus_statistics
        from mlcslm.io.files import write_json

        found = corpus_statistics(table, reading.samples, others)
        path = out.with_name(f"{out.name}.stats.json")
        write_json(path, found.as_json())
        _print_statistics(found, path)


def _print_statistics(statistics: CorpusStatistics, path: Path) -> None:
    """Print a table of the groups, and outliers by kind. path: of the file that has them all."""
    from mlcslm.cli.text_table import print_grid, printable

    columns = ["group", "sessions", "speakers", "recorded h", "speech h", "utterances", "seconds"]
    columns += ["characters/s", "silence %", "clipped %", "scripts %"]
    rows = []
    for one in statistics.groups:
        counts = [f"{one.sessions:,}", f"{one.speakers:,}", f"{one.recorded_h:.2f}", f"{one.speech_h:.2f}"]
        spreads = [" ".join(f"{value:.1f}" for value in three) for three in (one.seconds, one.characters_a_second)]
        shares = [f"{100 * one.silence:.1f}", f"{100 * one.clipping:.2g}"]
        scripts = ", ".join(f"{name} {100 * share:.3g}" for name, share in list(one.scripts.items())[:3])
        rows.append([one.group, *counts, f"{one.utterances:,}", *spreads, *shares, scripts or "-"])
    title = "seconds: shortest, median, longest utterance; characters/s: 5 %, median, 95 %"
    print_grid(title, columns, rows, [False, *[True] * 9, False])
    for why in dict.fromkeys(outlier.why for outlier in statistics.outliers):
        those = [outlier for outlier in statistics.outliers if outlier.why == why]
        typer.echo(f"{why}: {len(those):,}")
        for outlier in those[:_LISTED_OUTLIERS]:
            typer.echo(f"  {printable(' and '.join(outlier.names))}: {printable(outlier.found)}")
        if len(those) > _LISTED_OUTLIERS:
            typer.echo(f"  … and {len(those) - _LISTED_OUTLIERS:,} more in {path}")
    if not statistics.outliers:
        typer.echo("no outliers")
