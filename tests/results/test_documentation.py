"""docs/results.md against the database: its queries run, and its schema is the one that is made."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

from mlcslm.results.database import open_database

pytestmark = pytest.mark.slow

DOCUMENT = (Path(__file__).parents[2] / "docs/results.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"```sql\n(.*?)```", DOCUMENT, flags=re.DOTALL)


def test_ten_queries_at_least() -> None:
    assert len(QUERIES) >= 10


@pytest.mark.parametrize("number", range(len(QUERIES)))
def test_query_returns_rows(database: Path, number: int) -> None:
    with open_database(database) as connection:
        statements = duckdb.extract_statements(QUERIES[number])
        assert len(statements) == 1
        assert connection.execute(statements[0]).fetchall()


def test_schema_is_documented_as_it_is(database: Path) -> None:
    with open_database(database) as connection:
        lines = schema_in_markdown(connection).splitlines()
    missing = [line for line in lines if line not in DOCUMENT.splitlines()]
    assert not missing, "docs/results.md lacks these lines of the schema:\n" + "\n".join(missing)


def test_everything_has_a_comment(database: Path) -> None:
    with open_database(database) as connection:
        bare = connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE comment IS NULL UNION ALL "
            "SELECT view_name FROM duckdb_views() WHERE NOT internal AND comment IS NULL UNION ALL "
            "SELECT table_name || '.' || column_name FROM duckdb_columns() JOIN duckdb_tables() USING (table_name) "
            "WHERE NOT duckdb_columns.internal AND duckdb_columns.comment IS NULL"
        ).fetchall()
    assert bare == []


def schema_in_markdown(connection: duckdb.DuckDBPyConnection) -> str:
    """The comments of schema.sql and views.sql as the section of docs/results.md."""
    tables = connection.execute("SELECT table_name, comment FROM duckdb_tables() ORDER BY table_name").fetchall()
    columns = (
        "SELECT column_name, lower(data_type), comment FROM duckdb_columns() WHERE table_name = ? ORDER BY column_index"
    )
    lines = ["## Tables", ""]
    for table, comment in tables:
        lines += [f"### {table}", "", f"{comment}.", "", "| column | type | meaning |", "|---|---|---|"]
        for name, kind, meaning in connection.execute(columns, [table]).fetchall():
            lines.append(f"| `{name}` | {kind} | {meaning.replace('<', '&lt;')} |")
        lines.append("")
    lines += ["## Views", "", "| view | columns | meaning |", "|---|---|---|"]
    views = "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal ORDER BY view_name"
    for view, comment in connection.execute(views).fetchall():
        names = ", ".join(f"`{name}`" for name, _, _ in connection.execute(columns, [view]).fetchall())
        lines.append(f"| `{view}` | {names} | {comment} |")
    return "\n".join(lines)
