"""Rates of all systems, pooled, averaged over groups and by group, as a CSV and a Markdown page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from mlcslm.errors import UserError
from mlcslm.io.csv import write_csv
from mlcslm.io.files import atomic_path
from mlcslm.results.database import open_database
from mlcslm.results.intervals import POOLED, about_intervals
from mlcslm.scoring.intervals import group_mean_interval, pooled_interval

TITLES = {"wer": "WER/CER (Track 1)", "tcpwer": "tcpWER/tcpCER", "der": "DER"}
_FIXED = (
    *("split", "system", "groups", "pooled", "pooled_low", "pooled_high"),
    *("mean_of_groups", "mean_of_groups_low", "mean_of_groups_high"),
)
_ABOUT = (
    "Percent. **pooled**: all errors over all reference tokens, as the 2025 challenge reports. **mean of groups**: the "
    "mean of the groups' own rates, equally weighted, as the 2026 challenge reports tcpMER. The two are not "
    "comparable: in the first, a group's weight is its number of tokens. In brackets: {intervals}, and for the second "
    "none where a group has a single session. Protocol `{protocol}`; counted in characters: {characters}; all others "
    "in words; collar of tcpWER/tcpCER 5 s."
)


def write_averages(database: Path, measure: str, csv: Path, markdown: Path) -> None:
    """Write the rates of every system that `database` has in `measure` (wer, tcpwer or der), external ones included.

    Columns: split, system, groups (how many), pooled and mean_of_groups with their intervals, and one column per group.
    The page also has the groups' intervals, and compares each two systems.
    Raises UserError if no system has this measure.
    """
    with open_database(database) as connection:
        settings = dict(connection.execute("SELECT key, value FROM settings").fetchall())
        groups = _groups(connection, measure)
        units = dict(connection.execute("SELECT grp, unit FROM groups").fetchall())
        in_characters = [group for group in groups if units[group] == "character"]
        rows = _rows(connection, measure, groups, settings)
        comparisons = _comparisons(connection, measure)
        of_groups = _group_intervals(connection, measure, settings)
    if not rows:
        raise UserError(f"{database}: no system has a {TITLES[measure]}; score one first (docs/challenge2026.md).")
    with atomic_path(csv) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        write_csv(file, [*_FIXED, *groups], rows)
    characters = ", ".join(in_characters) or "none"
    intervals = about_intervals(settings)
    about = _ABOUT.format(intervals=intervals, protocol=settings["protocol"], characters=characters)
    parts = [
        f"# {TITLES[measure]} by system",
        _summary(rows),
        about,
        "## By group",
        _by_group(groups, rows, of_groups),
        *comparisons,
    ]
    page = "\n\n".join(parts)
    with atomic_path(markdown) as temporary:
        temporary.write_text(page + "\n", encoding="utf-8")


def _groups(connection: duckdb.DuckDBPyConnection, measure: str) -> list[str]:
    """Groups with this measure, in the order of the languages table."""
    found = connection.execute(
        "SELECT grp FROM groups SEMI JOIN (SELECT grp FROM session_errors WHERE measure = ?) USING (grp) "
        "ORDER BY groups.rowid",
        [measure],
    )
    return [name for (name,) in found.fetchall()]


def _rows(
    connection: duckdb.DuckDBPyConnection, measure: str, groups: Sequence[str], settings: Mapping[str, str]
) -> list[list[Any]]:
    rates = connection.execute(
        "SELECT split, system, grp, CAST(error_rate(errors, length) AS DECIMAL(18, 2)) FROM session_errors "
        "WHERE measure = ? AND protocol = (SELECT value FROM settings WHERE key = 'protocol') GROUP BY ALL",
        [measure],
    ).fetchall()
    of_group = {tuple(key): rate for *key, rate in rates}
    averages = connection.execute(
        "SELECT split, system, groups, decimals(pooled), decimals(low), decimals(high), decimals(mean_of_groups) "
        "FROM averages WHERE measure = ? AND groups > 0 ORDER BY split, mean_of_groups, system",
        [measure],
    ).fetchall()
    ends = _mean_intervals(connection, measure, settings)
    return [
        [*row, *ends[row[0], row[1]], *(of_group.get((row[0], row[1], group)) for group in groups)] for row in averages
    ]


def _mean_intervals(
    connection: duckdb.DuckDBPyConnection, measure: str, settings: Mapping[str, str]
) -> dict[tuple[str, str], list[Decimal | None]]:
    """Ends of the interval of the mean of groups, in percent, by split and system; None for no interval."""
    sessions = connection.execute(
        "SELECT split, system, list(errors ORDER BY session_id), list(length ORDER BY session_id), "
        "list(grp ORDER BY session_id) FROM session_errors WHERE measure = ? AND protocol = ? GROUP BY ALL",
        [measure, settings["protocol"]],
    ).fetchall()
    found: dict[tuple[str, str], list[Decimal | None]] = {}
    for split, system, *columns in sessions:
        ends = group_mean_interval(*map(np.array, columns), level=float(settings["bootstrap_level"]))
        found[split, system] = [None if math.isnan(end) else Decimal(f"{100 * end:.2f}") for end in ends]
    return found


def _group_intervals(
    connection: duckdb.DuckDBPyConnection, measure: str, settings: Mapping[str, str]
) -> dict[tuple[str, str, str], tuple[Decimal, Decimal]]:
    """Interval of each group's rate, in percent, by split, system and group, where there are sessions enough."""
    sessions = connection.execute(
        "SELECT split, system, grp, list(errors ORDER BY session_id), list(length ORDER BY session_id) "
        "FROM session_errors WHERE measure = ? AND protocol = ? GROUP BY ALL HAVING sum(length) > 0",
        [measure, settings["protocol"]],
    ).fetchall()
    found = {}
    for split, system, group, errors, lengths in sessions:
        ends = pooled_interval(np.array(errors), np.array(lengths), level=float(settings["bootstrap_level"]))
        if not math.isnan(ends[0]):
            found[split, system, group] = Decimal(f"{100 * ends[0]:.2f}"), Decimal(f"{100 * ends[1]:.2f}")
    return found


def _summary(rows: Sequence[Sequence[Any]]) -> str:
    lines = ["| split | system | groups | pooled | mean of groups |", "|:---|:---|---:|---:|---:|"]
    for split, system, groups, *rates in rows:
        lines.append(f"| {split} | {system} | {groups} | {_rate(*rates[:3])} | {_rate(*rates[3:6])} |")
    return "\n".join(lines)


def _comparisons(connection: duckdb.DuckDBPyConnection, measure: str) -> list[str]:
    """A section with the difference of each two systems, pooled and paired by session; empty if there is none."""
    found = connection.execute(
        "SELECT split, system_a, system_b, decimals(difference), decimals(low), decimals(high), "
        "CAST(p_value AS DECIMAL(18, 4)) FROM comparisons WHERE measure = ? AND grp = ? ORDER BY ALL",
        [measure, POOLED],
    ).fetchall()
    if not found:
        return []
    lines = ["| split | first | second | difference | p-value |", "|:---|:---|:---|---:|---:|"]
    for split, first, second, difference, low, high, p_value in found:
        lines.append(f"| {split} | {first} | {second} | {_rate(difference, low, high)} | {p_value} |")
    return ["## Differences, paired by session (points; negative: the second is better)", "\n".join(lines)]


def _rate(rate: Decimal, low: Decimal | None, high: Decimal | None) -> str:
    return str(rate) if low is None else f"{rate} [{low}, {high}]"


def _by_group(
    groups: Sequence[str],
    rows: Sequence[Sequence[Any]],
    intervals: Mapping[tuple[str, str, str], tuple[Decimal, Decimal]],
) -> str:
    names = [f"{row[1]} ({row[0]})" for row in rows]
    lines = [f"| group | {' | '.join(names)} |", "|:---|" + "---:|" * len(names)]
    for column, group in enumerate(groups, start=len(_FIXED)):
        cells = (
            "" if row[column] is None else _rate(row[column], *intervals.get((row[0], row[1], group), (None, None)))
            for row in rows
        )
        lines.append(f"| {group} | {' | '.join(cells)} |")
    return "\n".join(lines)
