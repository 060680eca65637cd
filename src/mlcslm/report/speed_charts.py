"""Error rate against speed and size: ready recognisers and what was trained here, side by side."""

from __future__ import annotations

import math
from typing import Any

import duckdb
import plotly.graph_objects as go

from mlcslm.report.charts import COLOURS, chart
from mlcslm.report.tables import utterances_link

_SMALLEST, _LARGEST = 8.0, 48.0  # markers, in pixels


def speed_sections(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Sections of the speed page as `charts.html.j2` expects them, one per split; none without a ready recogniser."""
    rows = connection.execute(
        "SELECT w.split, w.system, w.wer, a.real_time_factor, s.parameters FROM wer_by_system AS w "
        "JOIN answers_by_system AS a ON a.system = w.system AND a.split = w.split "
        "JOIN systems AS s ON s.system = w.system "
        "WHERE w.wer IS NOT NULL AND a.real_time_factor > 0 "
        "AND EXISTS (SELECT 1 FROM systems WHERE parameters IS NOT NULL) ORDER BY w.split, s.rowid"
    ).fetchall()
    return [
        _section(split, [row[1:] for row in rows if row[0] == split]) for split in dict.fromkeys(r[0] for r in rows)
    ]


def marker_size(parameters: int | None) -> float:
    """Diameter in pixels: the area grows with the number of parameters, within limits; unknown is smallest.

    >>> marker_size(None), marker_size(72_000_000), marker_size(9_000_000_000)
    (8.0, 8.5, 48.0)
    """
    return _SMALLEST if parameters is None else min(_LARGEST, max(_SMALLEST, round(math.sqrt(parameters / 1e6), 1)))


def _section(split: str, rows: list[tuple[str, float, float, int | None]]) -> dict[str, Any]:
    points = [
        go.Scatter(
            x=[factor],
            y=[rate],
            name=system,
            mode="markers",
            marker={"size": marker_size(parameters), "color": COLOURS[number % len(COLOURS)]},
            customdata=[utterances_link(split=split, a=system)],
            hovertemplate=f"%{{y:.2f}} % at %{{x:.4f}}{_millions(parameters)}",
        )
        for number, (system, rate, factor, parameters) in enumerate(rows)
    ]
    return {
        "heading": f"Error rate against speed, {split}",
        "text": "Real-time factor: seconds of computation per second of speech, on the machine that decoded. A "
        "recogniser's marker is as large as its number of parameters. Click a point to open its utterances.",
        "charts": [
            chart(
                points,
                x={"title": {"text": "real-time factor"}, "type": "log"},
                y={"title": {"text": "WER/CER, percent"}, "rangemode": "tozero"},
                height=420,
            )
        ],
    }


def _millions(parameters: int | None) -> str:
    return "" if parameters is None else f", {parameters / 1e6:,.1f} M parameters"
