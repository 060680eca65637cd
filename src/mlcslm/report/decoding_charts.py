"""The decoding grid: rates and speed of Table 4's settings, and the best for each group."""

from __future__ import annotations

from typing import Any

import duckdb
import plotly.graph_objects as go

from mlcslm.report.charts import COLOURS, chart
from mlcslm.report.tables import utterances_link


def decoding_sections(connection: duckdb.DuckDBPyConnection, *, published: bool = True) -> list[dict[str, Any]]:
    """Sections of the decoding page as `charts.html.j2` expects them; none if no setting of the grid was scored.

    published: whether the paper's numbers are shown.
    """
    rows = connection.execute(
        "SELECT r.labels['method'] || ' · ' || r.labels['beam_size'] || ' · ' || r.labels['max_new_tokens'], r.system, "
        "r.cells['dev'].value, r.cells['dev'].low, r.cells['dev'].high, r.cells['dev'].published, "
        "a.real_time_factor, a.percent_cut, a.percent_looping "
        "FROM rendered_rows AS r LEFT JOIN answers_by_system AS a ON a.system = r.system AND a.split = 'dev' "
        "WHERE r.table_name = 'table4' AND r.cells['dev'].value IS NOT NULL ORDER BY r.position DESC"
    ).fetchall()
    if not rows:
        return []
    names, systems, values, lows, highs, papers, factors, cut, looping = map(list, zip(*rows, strict=True))
    links = [utterances_link(split="dev", a=system) for system in systems]
    measured = go.Scatter(
        x=values,
        y=names,
        name="measured",
        mode="markers",
        marker={"size": 10, "color": COLOURS[0]},
        customdata=links,
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [None if high is None else high - value for high, value in zip(highs, values, strict=True)],
            "arrayminus": [None if low is None else value - low for low, value in zip(lows, values, strict=True)],
            "thickness": 2,
        },
        hovertemplate="%{y}: %{x:.2f} %<extra></extra>",
    )
    paper = go.Scatter(
        x=papers,
        y=names,
        name="published",
        mode="markers",
        meta="published",
        marker={"size": 10, "symbol": "diamond-open"},
        hovertemplate="%{y}: %{x:.2f} %<extra>published</extra>",
    )
    speed = [
        go.Scatter(
            x=[factor],
            y=[value],
            name=name,
            mode="markers",
            marker={"size": 11, "color": COLOURS[number % len(COLOURS)]},
            customdata=[link],
            hovertemplate="%{y:.2f} % at %{x:.4f}",
        )
        for number, (factor, value, name, link) in enumerate(zip(factors, values, names, links, strict=True))
    ]
    traces = [measured, paper] if published else [measured]
    legend = {"orientation": "h", "y": 1.06, "x": 0}
    rate = {"title": {"text": "WER/CER on dev, percent"}, "rangemode": "tozero"}
    sections: list[dict[str, Any]] = [
        {
            "heading": "Error rate of each setting",
            "text": "Method · beam size · longest answer in tokens. Bars are 95 % intervals over sessions, from five "
            "on; the Utterances page compares two settings by session and tells which is better. Click a point to "
            "open it there.",
            "charts": [chart(traces, x=rate, height=60 + 38 * len(names), legend=legend)],
        },
        {
            "heading": "Cost, and how answers end",
            "small": True,
            "charts": [
                chart(
                    speed[::-1],
                    caption="Error rate against seconds of computation per second of speech",
                    x={"title": {"text": "real-time factor"}, "type": "log"},
                    y={"title": {"text": "WER/CER, percent"}},
                    height=380,
                ),
                chart(
                    [
                        go.Bar(y=names, x=values_, name=name, orientation="h", marker={"color": colour})
                        for name, values_, colour in (("truncated", cut, COLOURS[1]), ("looping", looping, COLOURS[3]))
                    ],
                    caption="Percent of answers truncated at the length limit, or running into repetition",
                    x={"title": {"text": "percent"}, "rangemode": "tozero"},
                    height=380,
                    legend=legend,
                ),
            ],
        },
    ]
    return [*sections, *_by_group(connection)]


def _by_group(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    rows = connection.execute(
        "SELECT g.grp, g.method || ' · ' || g.beam_size || ' · ' || g.max_new_tokens, g.wer, g.above_best, g.system "
        "FROM grid_by_group AS g JOIN table_rows AS r ON r.system = g.system AND r.table_name = 'table4' "
        "JOIN groups AS n ON n.grp = g.grp WHERE g.wer IS NOT NULL ORDER BY n.rowid, r.position"
    ).fetchall()
    if not rows:
        return []
    groups, settings = list(dict.fromkeys(row[0] for row in rows)), list(dict.fromkeys(row[1] for row in rows))
    cells = {(row[1], row[0]): row for row in rows}
    grid = [[cells.get((setting, group)) for group in groups] for setting in reversed(settings)]
    heat = go.Heatmap(
        x=groups,
        y=settings[::-1],
        z=[[row and row[3] for row in line] for line in grid],
        text=[[f"{row[2]:.1f}" if row else "" for row in line] for line in grid],
        texttemplate="%{text}",
        customdata=[[row and utterances_link(split="dev", a=row[4], group=row[0]) for row in line] for line in grid],
        colorscale=[[0, "rgba(209,96,61,0)"], [0.2, "rgba(209,96,61,0.3)"], [1, "rgba(209,96,61,0.95)"]],
        xgap=2,
        ygap=2,
        colorbar={"title": {"text": "points"}, "thickness": 12},
        hovertemplate="%{x}, %{y}: %{text} %, %{z:.2f} points behind the best<extra></extra>",
    )
    text = (
        "Numbers are the group's rate in percent, colours the points behind the group's best setting. "
        "The best of several looks better than it is, because it was chosen by this rate."
    )
    x = {"tickangle": -50, "showgrid": False}
    height = 150 + 34 * len(settings)
    return [{"heading": "By group", "text": text, "charts": [chart([heat], x=x, y={"showgrid": False}, height=height)]}]
