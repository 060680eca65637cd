"""Comparison of two systems, or two diarizers, of `results.duckdb`: rates by group, and what changed most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from mlcslm.errors import UserError
from mlcslm.results.database import open_database
from mlcslm.results.intervals import comparison_rows


def compare_in_database(
    database: Path, system_a: str, system_b: str, *, split: str, groups: Sequence[str] = (), most: int = 10
) -> dict[str, Any]:
    """Compare `system_b` with `system_a` on a split, under the config's protocol, seed and `bootstrap_samples`.

    groups: compared and pooled (all by default); most: how many utterances, or recordings for diarizers, to list. Keys:
    system_a, system_b, split, protocol, bootstrap_samples; `measures`: by measure, the rows of table `comparisons` from
    grp on (grp `all`: pooled over `groups`; `mean of groups`: equally weighted), percent and points; `changed`:
    utterances of view `changed_utterances`, or recordings for diarizers. Raises UserError for a database that cannot be
    read, systems that were not scored on the split, a system compared with itself or with a diarizer, and unknown
    groups.
    """
    with open_database(database) as connection:
        settings = dict(connection.execute("SELECT key, value FROM settings").fetchall())
        protocol, samples = settings["protocol"], int(settings["bootstrap_samples"])
        measures = _common_measures(connection, database, system_a, system_b, split, protocol)
        _check_groups(connection, database, split, groups)
        systems, options = [system_a, system_b], {"samples": samples, "seed": int(settings["seed"])}
        rows = {
            measure: list(comparison_rows(connection, measure, split, protocol, systems, groups=groups, **options))
            for measure in measures
        }
        if "wer" in measures:
            changed = _changed_utterances(connection, systems, split, groups, most)
        else:
            changed = _changed_recordings(connection, systems, split, protocol, groups, most)
    return {
        "system_a": system_a,
        "system_b": system_b,
        "split": split,
        "protocol": protocol,
        "bootstrap_samples": samples,
        "measures": rows,
        "changed": changed,
    }


def _scored(connection: duckdb.DuckDBPyConnection, split: str, protocol: str) -> dict[str, list[str]]:
    """Measures of each system scored on the split."""
    return dict(
        connection.execute(
            "SELECT system, list(DISTINCT measure ORDER BY measure DESC) FROM session_errors "
            "WHERE split = ? AND protocol = ? GROUP BY system ORDER BY system",
            [split, protocol],
        ).fetchall()
    )


def _common_measures(
    connection: duckdb.DuckDBPyConnection, database: Path, system_a: str, system_b: str, split: str, protocol: str
) -> list[str]:
    if system_a == system_b:
        raise UserError(f"{system_a}: cannot be compared with itself; expected two different systems.")
    scored = _scored(connection, split, protocol)
    for system in (system_a, system_b):
        if system not in scored:
            known = ", ".join(scored) or "none, as nothing was scored on this split"
            raise UserError(f"{database}: no scores of {system} on {split}; expected one of: {known}.")
    if common := [measure for measure in scored[system_a] if measure in scored[system_b]]:
        return common
    raise UserError(
        f"{system_a} and {system_b}: cannot compare a system with a diarizer, whose errors are of another kind. "
        "Name two systems or two diarizers."
    )


def _check_groups(connection: duckdb.DuckDBPyConnection, database: Path, split: str, groups: Sequence[str]) -> None:
    known = [
        name
        for (name,) in connection.execute(
            "SELECT DISTINCT grp FROM utterances WHERE split = ? ORDER BY grp", [split]
        ).fetchall()
    ]
    if unknown := [group for group in groups if group not in known]:
        raise UserError(
            f"{database}: no utterances of {', '.join(unknown)} in {split}; expected groups from: {', '.join(known)}."
        )


def _changed_utterances(
    connection: duckdb.DuckDBPyConnection, systems: Sequence[str], split: str, groups: Sequence[str], most: int
) -> list[dict[str, Any]]:
    return _rows(
        connection.execute(
            "SELECT * EXCLUDE (system_a, system_b, split) FROM changed_utterances WHERE system_a = ? AND system_b = ? "
            "AND split = ? AND (len(?) = 0 OR list_contains(?, grp)) LIMIT ?",
            [*systems, split, list(groups), list(groups), most],
        )
    )


def _changed_recordings(
    connection: duckdb.DuckDBPyConnection,
    systems: Sequence[str],
    split: str,
    protocol: str,
    groups: Sequence[str],
    most: int,
) -> list[dict[str, Any]]:
    return _rows(
        connection.execute(
            "SELECT a.session_id AS recording, a.grp, CAST(a.length AS BIGINT) AS length, "
            "CAST(a.errors AS BIGINT) AS errors_a, CAST(b.errors AS BIGINT) AS errors_b, "
            "CAST(b.errors - a.errors AS BIGINT) AS change FROM session_errors AS a JOIN session_errors AS b "
            "USING (measure, protocol, split, session_id) WHERE a.measure = 'tcpwer' AND a.system = ? AND b.system = ? "
            "AND split = ? AND protocol = ? AND a.errors <> b.errors AND (len(?) = 0 OR list_contains(?, a.grp)) "
            "ORDER BY abs(b.errors - a.errors) DESC, recording LIMIT ?",
            [*systems, split, protocol, list(groups), list(groups), most],
        )
    )


def _rows(found: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
