"""Heat maps of the report: rates by system and group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from mlcslm.report.tables import utterances_link


def system_maps(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """WER/CER by system and group, one map per split."""
    maps = []
    for split in _column(connection, "SELECT DISTINCT split FROM wer_by_system ORDER BY split"):
        rates = connection.execute(
            "SELECT system, grp, wer, errors, length FROM wer_by_group WHERE split = ?", [split]
        ).fetchall()
        totals = connection.execute(
            "SELECT w.system, wer FROM wer_by_system AS w LEFT JOIN systems AS s USING (system) "
            "WHERE split = ? ORDER BY s.rowid, w.system",
            [split],
        ).fetchall()
        cells = {
            (system, group): (wer, f"{group}: {errors} errors in {length} reference tokens")
            for system, group, wer, errors, length in rates
        }
        links = {(system, group): utterances_link(split=split, a=system, group=group) for system, group in cells}
        links |= {(system, None): utterances_link(split=split, a=system) for system, _ in totals}
        groups = _groups(connection, {group for _, group in cells})
        maps.append(_heat_map(split, "system", dict(totals), groups, cells, links))
    return maps


def diarizer_maps(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """tcpWER/tcpCER and DER by diarizer and group, one map per split and measure."""
    maps = []
    for split in _column(connection, "SELECT DISTINCT split FROM diarization_by_system ORDER BY split"):
        for measure, title in (("tcpwer", "tcpWER/tcpCER"), ("der", "DER")):
            rates = connection.execute(
                f"SELECT system, grp, {measure}, recordings FROM diarization_by_group WHERE split = ?", [split]
            ).fetchall()
            totals = connection.execute(
                f"SELECT w.system, {measure} FROM diarization_by_system AS w JOIN diarizers AS d ON "
                "diarizer = w.system WHERE split = ? ORDER BY d.rowid",
                [split],
            ).fetchall()
            cells = {(system, group): (rate, f"{group}: {count} recordings") for system, group, rate, count in rates}
            groups = _groups(connection, {group for _, group in cells})
            # Turns without words have no tcpWER, and may be all there is.
            if any(total is not None for _, total in totals):
                maps.append(_heat_map(f"{title}, {split}", "diarizer", dict(totals), groups, cells, {}))
    return maps


def _heat_map(
    heading: str,
    corner: str,
    totals: Mapping[str, float | None],
    groups: Sequence[str],
    cells: Mapping[tuple[str, str], tuple[float | None, str]],
    links: Mapping[tuple[str, str | None], str],
) -> dict[str, Any]:
    """A map as `heatmap.html.j2` expects it. The darkest colour is the 90th percentile of its rates."""
    rates = sorted(rate for rate, _ in cells.values() if rate is not None)
    top = max(1.0, min(100.0, rates[int(0.9 * (len(rates) - 1))])) if rates else 100.0
    rows = []
    for system, total in totals.items():
        row = [(group, *cells.get((system, group), (None, f"{group}: not measured"))) for group in groups]
        rows.append(
            {
                "label": system,
                "link": links.get((system, None)),
                "total": _decimals(total),
                "cells": [
                    {
                        "text": _decimals(rate),
                        "share": None if rate is None else round(min(1.0, rate / top), 3),
                        "link": links.get((system, group)),
                        "title": title,
                    }
                    for group, rate, title in row
                ],
            }
        )
    caption = "percent, pooled"
    return {
        "heading": heading,
        "caption": caption,
        "corner": corner,
        "groups": groups,
        "rows": rows,
        "top": f"{top:.0f}",
    }


def _decimals(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.1f}"


def _groups(connection: duckdb.DuckDBPyConnection, found: set[str]) -> list[str]:
    return [group for group in _column(connection, "SELECT grp FROM groups ORDER BY rowid") if group in found]


def _column(connection: duckdb.DuckDBPyConnection, query: str) -> list[str]:
    return [value for (value,) in connection.execute(query).fetchall()]
