"""Breakdown of tcpWER by diarizer and by group."""

from __future__ import annotations

from typing import Any

import duckdb
import plotly.graph_objects as go

from mlcslm.report.charts import COLOURS, chart

CAUSES = {
    "recognition": "recognition",
    "missed": "missed speech",
    "false_alarm": "false alarms",
    "confusion": "confused speakers",
    "timing": "wrong times",
}


def diarization_sections(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Sections of the diarization page as `charts.html.j2` expects them; none if nothing was diarized."""
    splits = [
        row[0]
        for row in connection.execute("SELECT DISTINCT split FROM diarization_by_system ORDER BY split").fetchall()
    ]
    if not splits:
        return []
    sections: list[dict[str, Any]] = [
        {
            "heading": "tcpWER/tcpCER by cause",
            "text": "The five causes add up to the rate. The circle is the WER/CER of the same system on the "
            "reference's utterances; the rest is the cost of diarization.",
            "charts": [found for split in splits if (found := _pooled(connection, split))],
            "small": True,
        },
        {
            "heading": "DER by cause",
            "text": "Percent of reference speech.",
            "charts": [_der(connection, split) for split in splits],
            "small": True,
        },
        {
            "heading": "tcpWER/tcpCER by cause and group",
            "text": "For the diarizer with the lowest rate on each split.",
            "charts": [found for split in splits if (found := _by_group(connection, split))],
        },
    ]
    return [section for section in sections if section["charts"]]


def _stacked(names: list[str], parts: dict[str, list[float]]) -> list[go.Bar]:
    return [
        go.Bar(
            y=names,
            x=values,
            name=name,
            orientation="h",
            marker={"color": COLOURS[number]},
            hovertemplate="%{y}: %{x:.2f}<extra>" + name + "</extra>",
        )
        for number, (name, values) in enumerate(parts.items())
    ]


def _pooled(connection: duckdb.DuckDBPyConnection, split: str) -> dict[str, Any] | None:
    """None if there are only turns without words, which have no such rate."""
    rows = connection.execute(
        "SELECT b.system, recognition, missed, false_alarm, confusion, timing, oracle_wer FROM tcpwer_breakdown AS b "
        "JOIN diarizers AS d ON d.diarizer = b.system WHERE split = ? AND grp = 'all' AND tcpwer IS NOT NULL "
        "ORDER BY d.rowid DESC",
        [split],
    ).fetchall()
    if not rows:
        return None
    names, *values, oracle = map(list, zip(*rows, strict=True))
    circles = go.Scatter(
        y=names,
        x=oracle,
        mode="markers",
        name="without diarization",
        meta="outline",
        marker={"symbol": "circle-open", "size": 11, "line": {"width": 2}},
        hovertemplate="%{y}: %{x:.2f}<extra>without diarization</extra>",
    )
    traces = [*_stacked(names, dict(zip(CAUSES.values(), values, strict=True))), circles]
    return _bars(traces, split, len(names), "points of tcpWER/tcpCER")


def _der(connection: duckdb.DuckDBPyConnection, split: str) -> dict[str, Any]:
    rows = connection.execute(
        "SELECT b.system, missed, false_alarm, confusion FROM diarization_by_system AS b "
        "JOIN diarizers AS d ON d.diarizer = b.system WHERE split = ? ORDER BY d.rowid DESC",
        [split],
    ).fetchall()
    names, *values = map(list, zip(*rows, strict=True))
    return _bars(
        _stacked(names, dict(zip(list(CAUSES.values())[1:4], values, strict=True))),
        split,
        len(names),
        "percent of speech",
    )


def _by_group(connection: duckdb.DuckDBPyConnection, split: str) -> dict[str, Any] | None:
    rows = connection.execute(
        "SELECT b.grp, recognition, missed, false_alarm, confusion, timing, b.system FROM tcpwer_breakdown "
        "AS b JOIN groups AS g ON g.grp = b.grp WHERE split = ? AND b.tcpwer IS NOT NULL AND b.system = "
        "(SELECT system FROM diarization_by_system WHERE split = ? ORDER BY tcpwer, system LIMIT 1) "
        "ORDER BY g.rowid DESC",
        [split, split],
    ).fetchall()
    if not rows:
        return None
    names, *values, systems = map(list, zip(*rows, strict=True))
    traces = _stacked(names, dict(zip(CAUSES.values(), values, strict=True)))
    return _bars(traces, f"{split}: {systems[0]}", len(names), "points of tcpWER/tcpCER")


def _bars(traces: list[Any], caption: str, lines: int, title: str) -> dict[str, Any]:
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"}
    return chart(
        traces, caption=caption, height=150 + 30 * lines, x={"title": {"text": title}}, barmode="stack", legend=legend
    )
