"""Builds the report: one folder of pages, data and audio that opens from disk, without a network."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import duckdb
from plotly.offline import get_plotlyjs

from mlcslm.io.files import atomic_folder
from mlcslm.report.audio import copy_audio
from mlcslm.report.corpus_page import corpus_splits
from mlcslm.report.data_files import write_data
from mlcslm.report.pages import write_pages
from mlcslm.report.timelines import write_timelines
from mlcslm.report.utterance_data import scored_systems, write_utterances
from mlcslm.report.word_data import write_words
from mlcslm.results.database import open_database
from mlcslm.results.settings import config_protocol
from mlcslm.results.tables import shows_published
from mlcslm.runtime.progress import progress


def build_report(
    database: Path,
    out: Path,
    *,
    audio: bool = True,
    published: bool | None = None,
    threads: int = 1,
    force: bool = False,
) -> None:
    """Write the report of `database` as the folder `out`, completely or not at all; `out/index.html` is its first page.

    audio: whether to copy the sessions' audio into it, so that utterances can be heard; published: whether to show the
    paper's numbers, None as the configuration has it; threads: for copying audio. Statistics of the corpus are read
    from `manifests/` beside the database, if they are there. Sessions whose audio cannot be read are named on standard
    output. Raises UserError if there is no database, and as
    `check_output_folder` does, which `force` is for.
    """
    with (
        open_database(database) as connection,
        atomic_folder(out, "report", force=force, inputs=[database]) as folder,
    ):
        _write_assets(folder)
        splits = _scored_splits(connection)
        expected = {split: _session_audio(connection, split) for split in splits} if audio else {}
        copied = copy_audio(folder, out, expected, threads) if expected else {split: {} for split in splits}
        protocol = config_protocol(connection)
        index = {}
        steps = sum(len(scored_systems(connection, split)) for split in splits)
        with progress(steps, "utterances of the report", "system") as bar:
            for split in splits:
                systems = write_utterances(connection, folder, split, copied[split], protocol, bar.update)
                if systems:
                    index[split] = {"systems": systems}
                    write_words(connection, folder, split, [system["name"] for system in systems])
        write_data(folder, "splits", index)
        write_timelines(connection, folder, copied)
        browsable = {split: values["systems"][0]["name"] for split, values in index.items()}
        if published is None:
            published = shows_published(connection)
        corpus = corpus_splits(connection, database.parent, browsable)
        write_pages(connection, folder, corpus=corpus, published=published)


def _write_assets(folder: Path) -> None:
    assets = folder / "assets"
    assets.mkdir()
    for asset in importlib.resources.files("mlcslm.report").joinpath("assets").iterdir():
        (assets / asset.name).write_bytes(asset.read_bytes())
    (assets / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")


def _scored_splits(connection: duckdb.DuckDBPyConnection) -> list[str]:
    found = connection.execute(
        "SELECT split FROM primary_counts UNION SELECT split FROM primary_diarization ORDER BY split"
    ).fetchall()
    return [split for (split,) in found]


def _session_audio(connection: duckdb.DuckDBPyConnection, split: str) -> dict[str, str]:
    """Audio file of each session, in manifest order."""
    return dict(
        connection.execute(
            "SELECT session_id, any_value(audio) FROM utterances WHERE split = ? "
            "GROUP BY session_id ORDER BY min(rowid)",
            [split],
        ).fetchall()
    )
