"""The paper's tables as the report shows them: each row's labels, and each number with its interval and the paper's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import duckdb

from mlcslm.results.markdown import SECTIONS, rendered_columns


def read_tables(connection: duckdb.DuckDBPyConnection, *, published: bool = True) -> list[dict[str, Any]]:
    """Every table with a measured row, as `index.html.j2` expects it.

    published: whether the paper's numbers are in it.
    """
    titles = connection.execute(
        "SELECT table_name, title FROM paper_tables SEMI JOIN (SELECT table_name FROM table_rows WHERE measured) "
        "USING (table_name) ORDER BY table_name"
    ).fetchall()
    return [_table(connection, name, title, published) for name, title in titles]


def read_external(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """External systems: name, label and rates (percent, with intervals) by split and measure."""
    found = connection.execute(
        "SELECT s.system, s.method, w.split, 'WER/CER', w.wer, w.low, w.high, s.source FROM systems AS s "
        "JOIN wer_by_system AS w USING (system) WHERE s.source IS NOT NULL AND w.wer IS NOT NULL UNION ALL "
        "SELECT d.diarizer, d.method, w.split, 'tcpWER/tcpCER', w.tcpwer, w.low, w.high, d.source FROM diarizers AS d "
        "JOIN diarization_by_system AS w ON w.system = d.diarizer WHERE d.source IS NOT NULL AND w.tcpwer IS NOT NULL "
        "UNION ALL SELECT d.diarizer, d.method, w.split, 'DER', w.der, w.der_low, w.der_high, d.source "
        "FROM diarizers AS d JOIN diarization_by_system AS w ON w.system = d.diarizer WHERE d.source IS NOT NULL "
        "AND w.der IS NOT NULL ORDER BY ALL"
    ).fetchall()
    names = ("name", "method", "split", "measure", "value", "low", "high", "source")
    external = [dict(zip(names, row, strict=True)) for row in found]
    for row in external:
        track_1 = row["measure"] == "WER/CER"
        row["link"] = utterances_link(split=row["split"], a=row["name"]) if track_1 else "diarization.html"
    return external


def utterances_link(**state: Any) -> str:
    """Address of the error browser in a given state, see assets/filters.js.

    >>> utterances_link(split="dev", a="ckpt-7000/greedy")
    'utterances.html#split=dev&a=ckpt-7000%2Fgreedy'
    """
    return f"utterances.html#{urlencode(state)}"


def _table(connection: duckdb.DuckDBPyConnection, name: str, title: str, published: bool) -> dict[str, Any]:
    found = connection.execute(f'SELECT * FROM "{name}"')
    columns = [column[0] for column in found.description]
    rows = [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
    if not published:
        rows = [{key: None if key.endswith("_published") else value for key, value in row.items()} for row in rows]
    measured = connection.execute(
        "SELECT system, diarizer, note FROM table_rows WHERE table_name = ? AND measured ORDER BY position", [name]
    ).fetchall()
    ((values,),) = connection.execute("SELECT value_columns FROM paper_tables WHERE table_name = ?", [name]).fetchall()
    parts = {f"{value}{end}" for value in values for end in ("", "_low", "_high", "_published")}
    others = [column for column in rendered_columns(columns) if column not in parts and column != "note"]
    first = columns.index(values[0])
    labels = [column for column in others if columns.index(column) < first]
    extras = [column for column in others if column not in labels]
    tops = {value: _top(rows, value) for value in values}
    return {
        "name": name,
        "title": title,
        "labels": [_words(label) for label in labels],
        "columns": [_words(value) for value in values],
        "extras": [_words(extra) for extra in extras],
        "scales": {_words(value): f"{top:g}" for value, top in tops.items()},
        "width": len(labels) + (3 if published else 2) * len(values) + len(extras),
        "rows": [
            {
                "labels": [row[label] for label in labels],
                "cells": [_cell(row, value, tops[value]) for value in values],
                "extras": [_extra(row, extra) for extra in extras],
                "note": row["note"] if row.get("note", "-") != "-" else None if "note" in columns else note,
                "link": _link(row, system, diarizer),
            }
            for row, (system, diarizer, note) in zip(rows, measured, strict=True)
        ],
        "absent": [
            label
            for (label,) in connection.execute(
                "SELECT array_to_string(map_values(labels), ', ') FROM table_rows "
                "WHERE table_name = ? AND NOT measured ORDER BY position",
                [name],
            ).fetchall()
        ],
        "section": _section(connection, name),
    }


def _extra(row: dict[str, Any], column: str) -> Any:
    """A value without a scale, with its interval if it has one.

    >>> _extra({"difference": -1.5, "difference_low": -2.25, "difference_high": -0.5}, "difference")
    '-1.5 [-2.25, -0.5]'
    """
    low = row.get(f"{column}_low")
    return row[column] if low is None else f"{row[column]} [{low}, {row[f'{column}_high']}]"


def _cell(row: dict[str, Any], column: str, top: float) -> dict[str, Any]:
    """A number, with the positions of its marks on a scale from 0 to `top`, in percent of the scale."""
    value, low, high = (row.get(f"{column}{end}") for end in ("", "_low", "_high"))
    published = row.get(f"{column}_published")
    positions = {
        name: None if x is None else _position(x, top) for name, x in (("value", value), ("published", published))
    }
    strip = {**positions, "left": None, "width": None}
    if low is not None and high is not None:
        strip |= {"left": _position(low, top), "width": round(_position(high, top) - _position(low, top), 2)}
    return {"value": value, "low": low, "high": high, "published": published, "strip": strip}


def _position(value: Decimal, top: float) -> float:
    return round(min(100.0, 100 * float(value) / top), 2)


def _top(rows: Sequence[dict[str, Any]], column: str) -> float:
    """A round number at or above all numbers of a column.

    >>> _top([{"x": Decimal("43.2"), "x_published": Decimal("24.3")}], "x")
    50.0
    """
    names = (column, f"{column}_high", f"{column}_published")
    most = max((float(row[name]) for row in rows for name in names if row.get(name) is not None), default=1.0) or 1.0
    unit = 10.0 ** math.floor(math.log10(most))
    return math.ceil(round(most / unit, 6)) * unit


def _link(row: dict[str, Any], system: str | None, diarizer: str | None) -> str | None:
    """Link to a row's errors; None if nothing of it was scored."""
    if diarizer is not None:
        scored = any(row.get(column) is not None for column in ("dev", "test", "tcpwer", "der"))
        return "diarization.html" if scored else None
    splits = [split for split in ("dev", "test") if row.get(split) is not None]
    return utterances_link(split=splits[0], a=system) if splits else None


def _section(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, Any] | None:
    if name not in SECTIONS:
        return None
    heading, query = SECTIONS[name]
    found = connection.execute(query)
    columns, rows = [column[0] for column in found.description], found.fetchall()
    return {"heading": heading, "columns": [_words(column) for column in columns], "rows": rows} if rows else None


def _words(name: str) -> str:
    return name.replace("_", " ")
