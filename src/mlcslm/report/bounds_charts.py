"""What choosing among answers can give at most: oracles of candidates, and of the two transcripts of a reflection."""

from __future__ import annotations

from typing import Any

import duckdb
import plotly.graph_objects as go

from mlcslm.report.charts import COLOURS, chart
from mlcslm.report.tables import utterances_link

_RATE = {"title": {"text": "WER/CER, percent"}, "rangemode": "tozero"}
_LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"}


def bounds_sections(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Sections of the page on bounds as `charts.html.j2` expects them; none if no system could choose."""
    found = connection.execute(
        "SELECT b.split, b.choice, b.system, b.among, b.oracle_wer, b.wer FROM bounds AS b "
        "LEFT JOIN systems AS s USING (system) WHERE b.wer IS NOT NULL ORDER BY b.split, b.choice, s.rowid, b.among"
    ).fetchall()
    sections = []
    for split, choice in dict.fromkeys(row[:2] for row in found):
        rows = [row[2:] for row in found if row[:2] == (split, choice)]
        draw = _candidates if choice == "candidates" else _transcripts
        sections += [draw(split, rows), _by_group(connection, split, choice)]
    return sections


def _candidates(split: str, rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    traces = []
    for number, system in enumerate(dict.fromkeys(row[0] for row in rows)):
        of_system = [row for row in rows if row[0] == system]
        colour = COLOURS[number % len(COLOURS)]
        traces.append(
            go.Scatter(
                x=[row[1] for row in of_system],
                y=[row[2] for row in of_system],
                name=f"{system}: the best",
                mode="lines+markers",
                line={"color": colour},
                hovertemplate="best of %{x}: %{y:.2f} %<extra></extra>",
            )
        )
        traces.append(
            go.Scatter(
                x=[of_system[-1][1]],
                y=[of_system[-1][3]],
                name="the chosen one",
                mode="markers",
                marker={"size": 11, "color": colour, "symbol": "circle-open"},
                customdata=[utterances_link(split=split, a=system)],
                hovertemplate="chosen among %{x}: %{y:.2f} %<extra></extra>",
            )
        )
    return {
        "heading": f"Choosing among candidates ({split})",
        "text": "Error rate if a judge who knows the reference took the best of the first so many candidates, and that "
        "of the candidate which the system chose among all. No choice can be better than the line.",
        "charts": [
            chart(traces, x={"title": {"text": "candidates"}, "type": "log", "dtick": 0.30103}, y=_RATE, legend=_LEGEND)
        ],
    }


def _transcripts(split: str, rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    systems = [row[0] for row in rows][::-1]
    traces = [
        go.Scatter(
            x=[row[column] for row in rows][::-1],
            y=systems,
            name=label,
            mode="markers",
            marker={"size": 11, "color": colour, "symbol": symbol},
            customdata=[utterances_link(split=split, a=system) for system in systems],
            hovertemplate="%{y}: %{x:.2f} %<extra>" + label + "</extra>",
        )
        for column, label, colour, symbol in (
            (3, "final transcript", COLOURS[0], "circle"),
            (2, "the better of first and final", COLOURS[2], "diamond"),
        )
    ]
    return {
        "heading": f"Choosing between first and final transcript ({split})",
        "text": "Error rate of the transcripts after the reflection, and if a judge who knows the reference took the "
        "better of the one inside <think> and the one after it.",
        "charts": [chart(traces, x=_RATE, height=120 + 26 * len(rows), legend=_LEGEND)],
    }


def _by_group(connection: duckdb.DuckDBPyConnection, split: str, choice: str) -> dict[str, Any]:
    rows = connection.execute(
        "SELECT b.grp, b.system, b.wer, b.oracle_wer FROM bounds_by_group AS b JOIN groups AS g USING (grp) "
        "LEFT JOIN systems AS s USING (system) WHERE b.split = ? AND b.choice = ? AND b.wer IS NOT NULL "
        "QUALIFY b.among = max(b.among) OVER (PARTITION BY b.system) ORDER BY g.rowid, s.rowid",
        [split, choice],
    ).fetchall()
    groups, systems = list(dict.fromkeys(row[0] for row in rows)), list(dict.fromkeys(row[1] for row in rows))
    cells = {(row[1], row[0]): row for row in rows}
    grid = [[cells.get((system, group)) for group in groups] for system in reversed(systems)]
    heat = go.Heatmap(
        x=groups,
        y=systems[::-1],
        z=[[row and row[2] - row[3] for row in line] for line in grid],
        text=[[f"{row[3]:.1f}" if row else "" for row in line] for line in grid],
        texttemplate="%{text}",
        customdata=[[row and utterances_link(split=split, a=row[1], group=row[0]) for row in line] for line in grid],
        colorscale=[[0, "rgba(18,162,122,0)"], [1, "rgba(18,162,122,0.9)"]],
        xgap=2,
        ygap=2,
        colorbar={"title": {"text": "points"}, "thickness": 12},
        hovertemplate="%{x}, %{y}: %{text} %, %{z:.2f} points below the choice<extra></extra>",
    )
    return {
        "heading": f"By group, {choice} ({split})",
        "text": "Numbers are the best choice's rate in percent among all there is, colours the points that it is below "
        "the choice made.",
        "charts": [
            chart(
                [heat],
                x={"tickangle": -50, "showgrid": False},
                y={"showgrid": False},
                height=150 + 34 * len(systems),
            )
        ],
    }
