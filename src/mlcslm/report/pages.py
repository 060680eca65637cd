"""The pages: templates filled from the database, with everything escaped that is not the templates' own."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from mlcslm.report.bounds_charts import bounds_sections
from mlcslm.report.decoding_charts import decoding_sections
from mlcslm.report.diarization_charts import diarization_sections
from mlcslm.report.heat_maps import diarizer_maps, system_maps
from mlcslm.report.reasoning_charts import reasoning_sections
from mlcslm.report.speed_charts import speed_sections
from mlcslm.report.tables import read_external, read_tables
from mlcslm.report.training_charts import training_sections
from mlcslm.report.utterance_data import FLAGS
from mlcslm.results.intervals import about_intervals


def write_pages(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    *,
    corpus: Sequence[Mapping[str, Any]] = (),
    published: bool = True,
) -> None:
    """Write the report's pages into `folder`; pages that would be empty are left out.

    corpus: splits of `corpus_splits`; published: whether the paper's numbers are shown.
    """
    contents = _contents(connection, corpus, published)
    run = _run(connection)
    pages = [{"file": file, "title": title} for file, title, _, _ in contents]
    for file, title, template, values in contents:
        text = _templates().get_template(template).render(run=run, pages=pages, file=file, title=title, **values)
        (folder / file).write_text(text, encoding="utf-8")


@functools.cache
def _templates() -> Environment:
    """The package's templates, compiled once."""
    return Environment(
        loader=PackageLoader("mlcslm.report"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
    )


def _contents(
    connection: duckdb.DuckDBPyConnection, corpus: Sequence[Mapping[str, Any]], published: bool
) -> list[tuple[str, str, str, dict[str, Any]]]:
    """File, title, template and values of each page that is not empty."""
    training, decoding = training_sections(connection), decoding_sections(connection, published=published)
    reasoning = reasoning_sections(connection)
    diarization, groups = diarization_sections(connection), system_maps(connection)
    characters = connection.execute("SELECT grp FROM groups WHERE unit = 'character' ORDER BY rowid").fetchall()
    external = read_external(connection)
    tables = {
        "tables": read_tables(connection, published=published),
        "published": published,
        "external": external,
        "facts": _facts(connection),
    }
    pages: list[tuple[str, str, str, dict[str, Any]]] = [("index.html", "Tables", "index.html.j2", tables)]
    if corpus:
        pages.append(("corpus.html", "Corpus", "corpus.html.j2", {"splits": corpus}))
    if training:
        pages.append(("training.html", "Training", "charts.html.j2", {"lead": "", "sections": training}))
    if groups:
        values: dict[str, Any] = {"maps": groups, "characters": [name for (name,) in characters]}
        pages.append(("groups.html", "Groups", "groups.html.j2", values))
        pages.append(("words.html", "Words", "words.html.j2", {}))
    if decoding:
        pages.append(("decoding.html", "Decoding", "charts.html.j2", {"lead": "", "sections": decoding}))
    if speed := speed_sections(connection):
        pages.append(("speed.html", "Speed", "charts.html.j2", {"lead": "", "sections": speed}))
    if reasoning:
        pages.append(("reasoning.html", "Reasoning", "charts.html.j2", {"lead": "", "sections": reasoning}))
    if bounds := bounds_sections(connection):
        pages.append(("bounds.html", "Bounds", "charts.html.j2", {"lead": "", "sections": bounds}))
    if diarization:
        values = {"lead": "", "sections": diarization, "maps": diarizer_maps(connection)}
        pages.append(("diarization.html", "Diarization", "diarization.html.j2", values))
    if groups:
        pages.append(("utterances.html", "Utterances", "utterances.html.j2", {"flags": FLAGS}))
    return pages


def _run(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Settings of the database."""
    settings = dict(connection.execute("SELECT key, value FROM settings WHERE key <> 'config'").fetchall())
    return {**settings, "intervals": about_intervals(settings)}


def _facts(connection: duckdb.DuckDBPyConnection) -> list[dict[str, str]]:
    """Key figures at the top of the first page."""
    facts = []
    for split, utterances, hours in connection.execute(
        'SELECT split, count(*), sum("end" - "start") / 3600 FROM utterances GROUP BY split '
        "ORDER BY list_position(['train', 'dev', 'test'], split)"
    ).fetchall():
        facts.append({"value": f"{utterances:,}", "label": f"{split} utterances, {hours:.1f} h"})
    for rate, view, what in (("wer", "wer_by_system", "WER/CER"), ("tcpwer", "diarization_by_system", "tcpWER/tcpCER")):
        best = connection.execute(
            f"SELECT system, {rate} FROM {view} WHERE split = 'dev' AND {rate} IS NOT NULL "
            f"ORDER BY {rate}, system LIMIT 1"
        ).fetchone()
        if best is not None:
            facts.append({"value": f"{best[1]:.2f} %", "label": f"lowest {what} on dev: {best[0]}"})
    return facts
