"""A report of whatever there is: subsets of tables, of splits and of kinds of system, every two of them together."""

from __future__ import annotations

import contextlib
import importlib.resources
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from mlcslm.report import build
from mlcslm.report.build import build_report
from mlcslm.report.pages import write_pages
from mlcslm.report.tables import read_tables

pytestmark = pytest.mark.slow

TABLES = [f"table{number}" for number in range(1, 8)]
SPLITS = [(), ("dev",), ("test",), ("dev", "test")]
KINDS = ("decoded", "trained", "diarized", "external text", "external words", "external turns")
# Rows of tables that belong to a kind; external systems are recognised by their source.
OF_KIND = {
    "decoded": {
        "asr_counts": "checkpoint",
        "token_pairs": "checkpoint",
        "hypotheses": "checkpoint",
        "reflections": "checkpoint",
    },
    "external text": {"asr_counts": "elsewhere", "token_pairs": "elsewhere", "hypotheses": "elsewhere"},
    "diarized": {"diarization_counts": "campplus%", "diarized_segments": "campplus%"},
    "external words": {"diarization_counts": "their words", "diarized_segments": "their words"},
    "external turns": {"diarization_counts": "their turns", "diarized_segments": "their turns"},
}


@pytest.fixture(scope="module")
def everything(toy_database: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The toy database in memory, without constraints, with systems from elsewhere: one of each kind."""
    with duckdb.connect(config={"threads": 1}) as connection:
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
        ("token_pairs", "elsewhere", "ckpt-7000/greedy", ""),
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
    for table in ("asr_counts", "token_pairs", "hypotheses", "reflections", "diarization_counts", "diarized_segments"):
        connection.execute(f"DELETE FROM {table} WHERE NOT list_contains(?, split)", [list(splits)])
    if "trained" not in kinds:
        connection.execute("DELETE FROM training_log")
        connection.execute("DELETE FROM reinforcement_log")
        connection.execute("DELETE FROM dev_curves")
    connection.execute("DELETE FROM intervals WHERE (system, split) NOT IN (SELECT system, split FROM session_errors)")
    connection.execute(
        "DELETE FROM comparisons WHERE (system_a, split) NOT IN (SELECT system, split FROM session_errors) "
        "OR (system_b, split) NOT IN (SELECT system, split FROM session_errors)"
    )


def render(connection: duckdb.DuckDBPyConnection, folder: Path) -> dict[str, str]:
    """The report's pages without the error browser's data, by file."""
    folder.mkdir()
    write_pages(connection, folder)
    return {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.html")}


@contextlib.contextmanager
def changed(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Undo afterwards whatever is changed in the database."""
    connection.begin()
    try:
        yield
    finally:
        connection.rollback()


def check_texts(pages: dict[str, str], why: str) -> None:
    """Pages lead to no page that does not exist, and show no number that is none."""
    assert "index.html" in pages
    for name, page in pages.items():
        assert set(re.findall(r'href="(\w+\.html)', page)) <= set(pages), (why, name)
        charts = "".join(re.findall(r"<script[^>]*>(.*?)</script>", page, flags=re.DOTALL))
        assert not re.search(r"\b(NaN|nan|inf|Infinity|None)\b", charts), (why, name)
        shown = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
        found = re.search(r"\b(None|nan|NaN|inf|undefined|null)\b", shown)
        assert not found, (why, name, shown[max(found.start() - 200, 0) : found.end() + 200])


def check(pages: dict[str, str], splits: tuple[str, ...], kinds: tuple[str, ...]) -> None:
    """The pages are those of what there is."""
    check_texts(pages, f"{kinds} on {splits}")
    scored = bool(splits and {"decoded", "external text"} & set(kinds))
    track_2 = bool(splits and {"diarized", "external words", "external turns"} & set(kinds))
    assert ("training.html" in pages) == ("trained" in kinds)
    assert ("utterances.html" in pages) == ("groups.html" in pages) == scored
    assert ("diarization.html" in pages) == track_2


def some_kinds(splits: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Every subset on both splits; on one split, where pages differ by its tables' empty columns only, those with at
    most one kind and those that lack at most one; without a scored split, training is left of any subset.
    """
    sizes = range(len(KINDS) + 1) if len(splits) == 2 else (0, 1, len(KINDS) - 1, len(KINDS))
    every = [kinds for size in sizes for kinds in itertools.combinations(KINDS, size)]
    return every if splits else [(), ("trained",), KINDS]


@pytest.mark.parametrize("splits", SPLITS, ids="+".join)
def test_every_subset_of_kinds_has_its_pages(
    everything: duckdb.DuckDBPyConnection, tmp_path: Path, splits: tuple[str, ...]
) -> None:
    for place, kinds in enumerate(some_kinds(splits)):
        with changed(everything):
            keep(everything, tuple(TABLES), splits, kinds)
            check(render(everything, tmp_path / str(place)), splits, kinds)


MEASURED = (
    *(
        "hypotheses",
        "asr_counts",
        "token_pairs",
        "reflections",
        "training_log",
        "reinforcement_log",
        "diarization_counts",
    ),
    *("diarized_segments", "table_rows", "published", "intervals", "comparisons"),
)


@pytest.mark.parametrize("alone", [False, True], ids=["without one", "one alone"])
def test_each_table_of_the_database_may_be_empty(
    everything: duckdb.DuckDBPyConnection, tmp_path: Path, alone: bool
) -> None:
    for table in MEASURED:
        with changed(everything):
            for other in MEASURED:
                if (other == table) != alone:
                    everything.execute(f"DELETE FROM {other}")
            check_texts(render(everything, tmp_path / table), table)


def test_whatever_may_be_null_is_shown_as_missing(
    everything: duckdb.DuckDBPyConnection, toy_database: Path, tmp_path: Path
) -> None:
    with duckdb.connect(str(toy_database), read_only=True) as connection:
        columns = connection.execute(
            "SELECT table_name, column_name FROM duckdb_columns() JOIN duckdb_tables() USING (table_name) "
            "WHERE is_nullable AND table_name <> 'utterances' ORDER BY ALL"
        ).fetchall()
    assert len(columns) > 30
    for table in sorted({table for table, _ in columns}):
        with changed(everything):
            of_table = ", ".join(f'"{column}" = NULL' for name, column in columns if name == table)
            everything.execute(f"UPDATE {table} SET {of_table}")
            check_texts(render(everything, tmp_path / table), table)


@pytest.mark.parametrize("table", TABLES)
def test_any_rows_of_a_table_may_be_measured(everything: duckdb.DuckDBPyConnection, table: str) -> None:
    (rows,) = everything.execute("SELECT count(*) FROM table_rows WHERE table_name = ?", [table]).fetchone() or (0,)
    chosen = [range(1, last + 1) for last in range(rows + 1)] + [(row,) for row in range(2, rows + 1)]
    for measured in chosen:
        with changed(everything):
            everything.execute(
                "UPDATE table_rows SET measured = table_name = ? AND list_contains(?, position)", [table, [*measured]]
            )
            found = read_tables(everything)
            assert [len(one["rows"]) for one in found] == ([len(measured)] if measured else [])
            assert not re.search(r"\b(nan|inf)\b", str(found)), measured


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
