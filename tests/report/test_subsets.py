"""A report of whatever there is: subsets of tables, of splits and of kinds of system, every two of them together."""

from __future__ import annotations

import contextlib
import importlib.resources
import itertools
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from mlcslm.report import build
from mlcslm.report.build import build_report

pytestmark = pytest.mark.slow

TABLES = [f"table{number}" for number in range(1, 8)]
SPLITS = [(), ("dev",), ("test",), ("dev", "test")]
KINDS = ("decoded", "trained", "diarized", "external text", "external words", "external turns")
# Rows of tables that belong to a kind; external systems are recognised by their source.
OF_KIND = {
    "decoded": {"asr_counts": "checkpoint", "hypotheses": "checkpoint", "reflections": "checkpoint"},
    "external text": {"asr_counts": "elsewhere", "hypotheses": "elsewhere"},
    "diarized": {"diarization_counts": "campplus%", "diarized_segments": "campplus%"},
    "external words": {"diarization_counts": "their words", "diarized_segments": "their words"},
    "external turns": {"diarization_counts": "their turns", "diarized_segments": "their turns"},
}


@pytest.fixture(scope="module")
def everything(toy_database: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The toy database in memory, without constraints, with systems from elsewhere: one of each kind."""
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{toy_database}' AS toy (READ_ONLY)")
        tables = connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = 'toy' ORDER BY table_oid"
        ).fetchall()
        for (name,) in tables:
            connection.execute(f'CREATE TABLE "{name}" AS FROM toy."{name}"')
        connection.execute("DETACH toy")
        add_external_systems(connection)
        for views in ("views.sql", "diarization_views.sql", "average_views.sql", "table_views.sql"):
            connection.execute(importlib.resources.files("mlcslm.results").joinpath(views).read_text("utf-8"))
        yield connection


def add_external_systems(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("INSERT INTO systems (system, method, source) VALUES ('elsewhere', 'theirs', 'a.stm')")
    for name in ("their words", "their turns"):
        connection.execute("INSERT INTO diarizers (diarizer, source) VALUES (?, 'b.rttm')", [name])
    copied = "SELECT * REPLACE ({} AS system{}) FROM {} WHERE system = '{}'"
    unknown = ", ".join(f"NULL AS {name}" for name in ("language", "think", "tokens", "stop_reason", "seconds"))
    for table, name, like, more in (
        ("asr_counts", "elsewhere", "ckpt-7000/greedy", ""),
        ("hypotheses", "elsewhere", "ckpt-7000/greedy", f", {unknown}"),
        ("diarization_counts", "their words", "campplus-8", ", NULL AS oracle_errors, NULL AS oracle_length"),
        ("diarization_counts", "their turns", "campplus-60", ", NULL AS tcp_errors, NULL AS tcp_length"),
        ("diarized_segments", "their words", "campplus-8", ""),
        ("diarized_segments", "their turns", "campplus-60", ", NULL AS transcript, NULL AS raw_text"),
    ):
        connection.execute(f"INSERT INTO {table} " + copied.format(f"'{name}'", more, table, like))


def keep(
    connection: duckdb.DuckDBPyConnection, tables: tuple[str, ...], splits: tuple[str, ...], kinds: tuple[str, ...]
) -> None:
    """Leave in the database only what a run of these would have put there."""
    connection.execute("UPDATE table_rows SET measured = list_contains(?, table_name)", [list(tables)])
    for kind, rows in OF_KIND.items():
        for table, systems in rows.items() if kind not in kinds else ():
            chosen = "IN (SELECT system FROM systems WHERE source IS NULL)"
            chosen = chosen if systems == "checkpoint" else f"LIKE '{systems}'"
            connection.execute(f"DELETE FROM {table} WHERE system {chosen}")
    for table in ("asr_counts", "hypotheses", "reflections", "diarization_counts", "diarized_segments"):
        connection.execute(f"DELETE FROM {table} WHERE NOT list_contains(?, split)", [list(splits)])
    if "trained" not in kinds:
        connection.execute("DELETE FROM training_log")
        connection.execute("DELETE FROM reinforcement_log")
    connection.execute("DELETE FROM intervals WHERE (system, split) NOT IN (SELECT system, split FROM session_errors)")
    connection.execute(
        "DELETE FROM comparisons WHERE (system_a, split) NOT IN (SELECT system, split FROM session_errors) "
        "OR (system_b, split) NOT IN (SELECT system, split FROM session_errors)"
    )


def choices() -> list[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]]:
    """Tables, splits and kinds of system, drawn until every two of them were there together, one without the other, and
    neither; all of them, and none.
    """
    rng = random.Random(7)
    chosen, seen = [((), (), ()), (tuple(TABLES), SPLITS[-1], KINDS)], set()
    while len(chosen) < 200:
        tables, kinds = (tuple(one for one in names if rng.random() < 0.5) for names in (TABLES, KINDS))
        splits = rng.choice(SPLITS)
        facts = [*((name, name in tables) for name in TABLES), *((name, name in kinds) for name in KINDS), splits]
        pairs = set(itertools.combinations(facts, 2))
        # Choices that bring little are passed over at first.
        if len(pairs - seen) > 20 or (len(chosen) > 8 and pairs - seen):
            chosen.append((tables, splits, kinds))
            seen |= pairs
        names = len(TABLES) + len(KINDS)
        if len(seen) == 4 * names * (names - 1) // 2 + 2 * names * len(SPLITS):
            return chosen
    raise AssertionError("not every two were drawn")


@pytest.mark.parametrize("place", range(len(choices())))
def test_whatever_there_is_has_its_report(
    everything: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: Any, place: int
) -> None:
    monkeypatch.setattr(build, "open_database", lambda _: contextlib.nullcontext(everything))
    monkeypatch.setattr(build, "get_plotlyjs", str)
    tables, splits, kinds = choices()[place]
    everything.begin()
    try:
        keep(everything, tables, splits, kinds)
        build_report(tmp_path / "results.duckdb", tmp_path / "report", audio=False)
    finally:
        everything.rollback()
    check(tmp_path / "report", splits, kinds)


def check(folder: Path, splits: tuple[str, ...], kinds: tuple[str, ...]) -> None:
    """Pages are those of what is there, lead to no page that is not, and hold no number that is none."""
    pages = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.html")}
    assert "index.html" in pages
    assert ("training.html" in pages) == ("trained" in kinds)
    assert ("utterances.html" in pages) == bool(splits and {"decoded", "external text"} & set(kinds))
    track_2 = {"diarized", "external words", "external turns"} & set(kinds)
    assert ("diarization.html" in pages) == bool(splits and track_2)
    for name, text in pages.items():
        assert set(re.findall(r'href="(\w+\.html)', text)) <= set(pages), name
        assert not re.search(r">\s*(None|nan|NaN|inf)\b|\[(None|nan),", text), name


def test_external_systems_alone(everything: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: Any) -> None:
    """What `evaluate` gives after no run at all: tables have rows that the config names, and no number in them."""
    monkeypatch.setattr(build, "open_database", lambda _: contextlib.nullcontext(everything))
    monkeypatch.setattr(build, "get_plotlyjs", str)
    everything.begin()
    try:
        keep(everything, tuple(TABLES), ("dev",), ("external text", "external turns"))
        build_report(tmp_path / "results.duckdb", tmp_path / "report", audio=False)
    finally:
        everything.rollback()
    index = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    assert "External systems" in index and "their turns" in index and "not measured" in index
    assert not (tmp_path / "report/decoding.html").exists()
