"""The effect of reflecting: the hypothesis inside <think> against the transcript, and whether errors were named."""

from __future__ import annotations

from typing import Any

import duckdb
import plotly.graph_objects as go

from mlcslm.report.charts import COLOURS, chart
from mlcslm.report.tables import utterances_link

_FATES = {
    "corrected": "right in the end",
    "left_better": "nearer",
    "stayed": "as many errors as before",
    "made_worse": "more errors",
}
_LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"}


def reasoning_sections(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Sections of the reasoning page as `charts.html.j2` expects them; none if no system reflects."""
    found = connection.execute(
        "SELECT split, system, 100.0 * sum(first_errors) / nullif(sum(length), 0) AS first, "
        "100.0 * sum(final_errors) / nullif(sum(length), 0) AS final, sum(wrong_first) AS wrong, "
        "sum(corrected) AS corrected, sum(left_better) AS left_better, sum(left_wrong - left_better) AS stayed, "
        "sum(made_worse) AS made_worse, sum(right_first) AS right_first, sum(broken) AS broken, "
        "100.0 * sum(errors_right) / nullif(sum(errors_named), 0) AS precision, "
        "100.0 * sum(errors_right) / nullif(sum(errors_true), 0) AS recall "
        "FROM self_correction AS c LEFT JOIN systems AS s USING (system) GROUP BY split, system "
        "HAVING sum(length) > 0 ORDER BY split, min(s.rowid) DESC"
    )
    names = [column[0] for column in found.description]
    by_split: dict[str, list[dict[str, Any]]] = {}
    for row in found.fetchall():
        by_split.setdefault(row[0], []).append(dict(zip(names, row, strict=True)))
    return [section for split, rows in by_split.items() for section in _sections(split, rows)]


def _sections(split: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    height = 120 + 26 * len(rows)
    systems = [row["system"] for row in rows]
    rates = [
        go.Scatter(
            x=[row[name] for row in rows],
            y=systems,
            name=label,
            mode="markers",
            marker={"size": 11, "color": colour, "symbol": symbol},
            customdata=[utterances_link(split=split, a=system) for system in systems],
            hovertemplate="%{y}: %{x:.2f} %<extra>" + label + "</extra>",
        )
        for name, label, colour, symbol in (
            ("first", "inside <think>", COLOURS[1], "circle-open"),
            ("final", "in the end", COLOURS[0], "circle"),
        )
    ]
    fates = [
        go.Bar(
            x=[100.0 * row[name] / row["wrong"] if row["wrong"] else 0 for row in rows],
            y=systems,
            name=label,
            orientation="h",
            marker={"color": colour},
            text=[str(row[name]) for row in rows],
            hovertemplate="%{y}: %{x:.1f} % (%{text})<extra>" + label + "</extra>",
            textposition="none",
        )
        for (name, label), colour in zip(_FATES.items(), (COLOURS[2], COLOURS[7], COLOURS[9], COLOURS[5]), strict=True)
    ]
    broken = go.Bar(
        x=[100.0 * row["broken"] / row["right_first"] if row["right_first"] else 0 for row in rows],
        y=systems,
        orientation="h",
        marker={"color": COLOURS[5]},
        hovertemplate="%{y}: %{x:.1f} %<extra></extra>",
        showlegend=False,
    )
    named = [
        go.Bar(x=[row[name] for row in rows], y=systems, name=name, orientation="h", marker={"color": colour})
        for name, colour in (("precision", COLOURS[0]), ("recall", COLOURS[1]))
    ]
    percent = {"title": {"text": "percent"}, "rangemode": "tozero"}
    shared: dict[str, Any] = {"height": height, "legend": _LEGEND}
    return [
        {
            "heading": f"Does reflecting help? ({split})",
            "text": "Error rate of the hypothesis inside <think> and of the final transcript, over all answers whose "
            "reflection could be parsed.",
            "charts": [chart(rates, x=percent | {"title": {"text": "WER/CER, percent"}}, **shared)],
        },
        {
            "heading": f"What becomes of the hypotheses ({split})",
            "charts": [
                chart(fates, caption="Hypotheses that are wrong inside <think>", x=percent, barmode="stack", **shared),
                chart([broken], caption="Hypotheses that are right: wrong in the end", x=percent, **shared),
                chart(named, caption="Errors named: precision and recall", x=percent, **shared),
            ],
        },
    ]
