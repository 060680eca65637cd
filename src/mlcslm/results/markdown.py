"""A table of the paper as a Markdown page to read: numbers with intervals, provenance, and notes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import duckdb

from mlcslm.results.intervals import about_intervals

# Printed below a table that has the column.
LEGENDS = {
    "training_loss": "**Training loss**: mean over the last tenth of the stage's own steps, in nats per labelled "
    "token, as optimised: weighted where the stage weights its tokens (ckpt-10000).",
    "percent_cut": "**Answers**: percent truncated at the length limit, percent that run into repetition, mean length "
    "in tokens, and seconds of computation per second of speech, on the machine that decoded.",
    "der": "**DER**: seconds of missed, false and confused speech over seconds of reference speech, without collar, "
    "including overlapped speech.",
    "training_mtokens": "**Cost**: of all stages from the foundation models on, tokens read and written in training "
    "(millions) and minutes, both from the logs, and operations by the plan (10^12); then seconds of computation per "
    "minute of speech on dev. Times are of the machine that trained and decoded. **Difference**: to the control, "
    "points; negative is better.",
}
# Section below a table, by its name: a heading and a query whose columns `x_low` and `x_high` are the interval of x.
SECTIONS = {
    "table3": (
        "Differences between the rows, paired by session (points; negative: the second is better)",
        """
        SELECT
            a.labels['stage'] AS first, b.labels['stage'] AS second, decimals(c.difference) AS difference,
            decimals(c.low) AS difference_low, decimals(c.high) AS difference_high,
            CAST(c.p_value AS DECIMAL(18, 4)) AS p_value
        FROM comparisons AS c
        JOIN table_rows AS a ON a.table_name = 'table3' AND a.system = c.system_a
        JOIN table_rows AS b ON b.table_name = 'table3' AND b.system = c.system_b
        WHERE c.split = 'dev' AND c.grp = 'all'
        ORDER BY a.position, b.position
        """,
    ),
    "table4": (
        "Best setting of each language or accent (method, beam size, longest answer), and how far the worst is behind",
        """
        SELECT
            grp AS "group",
            string_agg(concat_ws(' ', method, beam_size, max_new_tokens), '; ' ORDER BY method DESC, beam_size, system)
                FILTER (best) AS best,
            decimals(min(wer)) AS dev, decimals(max(above_best)) AS worst_behind
        FROM grid_by_group
        GROUP BY grp
        ORDER BY grp
        """,
    ),
    "table5": (
        "Effect of a setting (tcpWER/tcpCER and DER of the variant; changes of tcpWER/tcpCER in points)",
        """
        SELECT
            diarizer, change, decimals(variant_der) AS der, decimals(variant_tcpwer) AS tcpwer,
            decimals(tcpwer_change) AS tcpwer_change, decimals(low) AS tcpwer_change_low,
            decimals(high) AS tcpwer_change_high, CAST(p_value AS DECIMAL(18, 4)) AS p_value
        FROM diarization_ablation
        WHERE split = 'dev'
        """,
    ),
    "table7": (
        "Breakdown of tcpWER/tcpCER: recognition, missed and false speech, confused speakers and wrong times add up to "
        "it; oracle is the WER/CER of the same system on the reference's utterances",
        """
        SELECT
            r.diarizer, b.split, decimals(b.tcpwer) AS tcpwer, decimals(b.recognition) AS recognition,
            decimals(b.missed) AS missed, decimals(b.false_alarm) AS false_alarm,
            decimals(b.confusion) AS confusion, decimals(b.timing) AS timing, decimals(b.oracle_wer) AS oracle,
            d.system AS transcribed_by
        FROM table_rows AS r
        JOIN tcpwer_breakdown AS b ON b.system = r.diarizer AND b.grp = 'all'
        JOIN diarizers AS d ON d.diarizer = r.diarizer
        WHERE r.table_name = 'table7'
        ORDER BY b.split, r.position
        """,
    ),
}
_PUBLISHED = "**Published**: the paper's numbers, for its own models on the challenge's data. Not measured here."


def markdown_page(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    published: bool = True,
) -> str:
    """Page of the view `table` with these columns and rows; published: whether the paper's numbers are shown."""
    diarization = connection.execute(
        "SELECT bool_or(diarizer IS NOT NULL) FROM table_rows WHERE table_name = ?", [table]
    ).fetchall()[0][0]
    sizes, rates = (_sizes_of_recordings if diarization else _sizes_of_utterances)(connection, table)
    parts = [
        f"# {title}",
        _grid(columns, rows, published=published),
        _provenance(connection, sizes, rates),
        *([_PUBLISHED] if published and any(column.endswith("_published") for column in columns) else []),
        *(legend for column, legend in LEGENDS.items() if column in columns),
        *_remarks(connection, table, noted="note" in columns),
        *_section(connection, table),
    ]
    return "\n\n".join(parts) + "\n"


def _section(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    if table not in SECTIONS:
        return []
    heading, query = SECTIONS[table]
    found = connection.execute(query)
    columns, rows = [column[0] for column in found.description], found.fetchall()
    return [f"## {heading}", _grid(columns, rows)] if rows else []


def rendered_columns(columns: Sequence[str], *, published: bool = True) -> list[str]:
    """The columns of a view that are rendered: `x_low` and `x_high` go into the cell of `x`.

    >>> rendered_columns(["dev", "dev_low", "dev_high", "dev_published"], published=False)
    ['dev']
    """
    hidden = ("_low", "_high") if published else ("_low", "_high", "_published")
    return [column for column in columns if not column.endswith(hidden)]


def _grid(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, published: bool = True) -> str:
    """A Markdown table: `dev`, `dev_low` and `dev_high` in one cell, `dev_published` beside it."""
    rendered = rendered_columns(columns, published=published)
    numeric = [any(isinstance(row[columns.index(column)], Decimal) for row in rows) for column in rendered]
    lines = [
        "| " + " | ".join(column.replace("_", " ") for column in rendered) + " |",
        "|" + "|".join("---:" if right else ":---" for right in numeric) + "|",
    ]
    for values in rows:
        row = dict(zip(columns, values, strict=True))
        lines.append("| " + " | ".join(_cell(row, column) for column in rendered) + " |")
    return "\n".join(lines)


def _cell(row: dict[str, Any], column: str) -> str:
    value = row[column]
    if value is None:
        # What has no control has no difference to it.
        return "not measured" if f"{column}_low" in row and not column.endswith("_difference") else ""
    if row.get(f"{column}_low") is not None:
        return f"{value} [{row[f'{column}_low']}, {row[f'{column}_high']}]"
    return _escape(str(value))


def _provenance(connection: duckdb.DuckDBPyConnection, sizes: Sequence[str], rates: str) -> str:
    settings = dict(connection.execute("SELECT key, value FROM settings").fetchall())
    preset, models, corpus = (_escape(settings[key]) for key in ("preset", "models", "corpus"))
    return (
        f"**Measured here**: preset {preset}, models {models}, corpus {corpus} ({'; '.join(sizes)}). Percent, pooled "
        f"over all groups: {rates.format(**settings)}. In brackets: the {about_intervals(settings)}."
    )


def _sizes_of_utterances(connection: duckdb.DuckDBPyConnection, table: str) -> tuple[list[str], str]:
    measured = connection.execute(
        "SELECT w.split, max(w.sessions), max(w.utterances), max(w.length) FROM wer_by_system AS w "
        "JOIN cells AS c ON c.system = w.system AND c.split = w.split WHERE c.table_name = ? AND c.measured "
        "GROUP BY w.split ORDER BY w.split",
        [table],
    ).fetchall()
    sizes = [
        f"{split}: {utterances:,} utterances, {sessions:,} sessions, {tokens:,} reference tokens"
        for split, sessions, utterances, tokens in measured
    ]
    return sizes, "errors over reference tokens, protocol `{protocol}`, collar none"


def _sizes_of_recordings(connection: duckdb.DuckDBPyConnection, table: str) -> tuple[list[str], str]:
    measured = connection.execute(
        "SELECT d.split, max(d.recordings), max(d.scored_speech), max(d.tcp_length) FROM diarization_by_system AS d "
        "JOIN cells AS c ON c.diarizer = d.system AND c.split = d.split WHERE c.table_name = ? AND c.measured "
        "GROUP BY d.split ORDER BY d.split",
        [table],
    ).fetchall()
    sizes = [
        f"{split}: {recordings:,} recordings, {seconds / 3600:.1f} h of reference speech, {tokens:,} reference tokens"
        for split, recordings, seconds, tokens in measured
    ]
    return sizes, "tcpWER/tcpCER is errors over reference tokens, protocol `{protocol}`, collar 5 s"


def _remarks(connection: duckdb.DuckDBPyConnection, table: str, *, noted: bool) -> list[str]:
    """Remarks below a table: the rows left out, and the rows' notes unless the table has them (`noted`)."""
    rows = connection.execute(
        "SELECT array_to_string(map_values(r.labels), ', '), r.measured, r.note, c.from_step, c.steps "
        "FROM table_rows AS r LEFT JOIN systems USING (system) LEFT JOIN collapses AS c USING (checkpoint) "
        "WHERE r.table_name = ? ORDER BY r.position",
        [table],
    ).fetchall()
    absent, notes = [], []
    for label, measured, note, from_step, steps in rows:
        if not measured:
            absent.append(_escape(label))
        elif not noted:
            if from_step is not None:
                notes.append(f"- {_escape(label)}: collapsed in {steps} steps, first in step {from_step}")
            if note:
                notes.append(f"- {_escape(label)}: {_escape(note)}")
    remarks = [f"Rows for which the preset has no stage, decoding or diarizer: {'; '.join(absent)}."] if absent else []
    return remarks + (["\n".join(notes)] if notes else [])


def _escape(text: str) -> str:
    """Text escaped for Markdown: nothing in it becomes a column, link, HTML or code."""
    return re.sub(r"([\\|`*<>\[\]])", r"\\\1", " ".join(text.split()))
