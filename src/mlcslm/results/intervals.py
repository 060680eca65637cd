"""Uncertainty of the rates in `results.duckdb`: intervals, and comparisons of all pairs of systems."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from mlcslm.runtime.progress import watched
from mlcslm.scoring.compare import Comparison, compare_systems
from mlcslm.scoring.intervals import FEWEST_SESSIONS, pooled_interval

LEVEL = 0.95
POOLED = "all"
MEAN = "mean of groups"
_COMPARISONS = pa.schema(
    [
        *((name, pa.string()) for name in ("measure", "split", "grp", "system_a", "system_b")),
        ("sessions", pa.int32()),
        *((name, pa.float64()) for name in ("rate_a", "rate_b", "difference", "low", "high", "p_value")),
        *((name, pa.int32()) for name in ("fewer", "more")),
    ]
)


def about_intervals(settings: Mapping[str, str]) -> str:
    """How intervals of pooled rates are computed, for readers. settings: of the database.

    >>> about_intervals({"bootstrap_level": "0.95"})
    '95 % interval over sessions, by a jackknife within groups; none below 5 sessions'
    """
    level = 100 * float(settings["bootstrap_level"])
    return f"{level:g} % interval over sessions, by a jackknife within groups; none below {FEWEST_SESSIONS} sessions"


def insert_intervals(connection: duckdb.DuckDBPyConnection) -> None:
    """Fill `intervals` from `session_errors`; rates from too few sessions or no reference token have none."""
    sessions = connection.execute(
        "SELECT measure, system, split, protocol, list(errors ORDER BY session_id), list(length ORDER BY session_id), "
        "list(grp ORDER BY session_id) FROM session_errors GROUP BY ALL HAVING sum(length) > 0 ORDER BY ALL"
    ).fetchall()
    for *key, errors, lengths, groups in watched(sessions, "intervals", "system"):
        low, high = pooled_interval(np.array(errors), np.array(lengths), np.array(groups), level=LEVEL)
        if not math.isnan(low):
            connection.execute("INSERT INTO intervals VALUES (?, ?, ?, ?, ?, ?)", [*key, 100 * low, 100 * high])


def insert_comparisons(connection: duckdb.DuckDBPyConnection, protocol: str, samples: int, seed: int) -> None:
    """Fill `comparisons` from `session_errors` under `protocol`; rates without a reference token are not compared."""
    scored = connection.execute(
        "SELECT measure, split, list(system ORDER BY position) FROM ("
        "SELECT DISTINCT measure, split, system, position FROM session_errors JOIN ("
        "SELECT system, rowid AS position FROM systems UNION ALL SELECT diarizer, rowid FROM diarizers) USING (system) "
        "WHERE protocol = ?) GROUP BY ALL ORDER BY ALL",
        [protocol],
    ).fetchall()
    rows = [
        {"measure": measure, "split": split, **row}
        for measure, split, systems in watched(scored, "comparing all systems", "measure")
        for row in comparison_rows(connection, measure, split, protocol, systems, samples=samples, seed=seed)
    ]
    connection.register("staged", pa.Table.from_pylist(rows, schema=_COMPARISONS))
    connection.execute("INSERT INTO comparisons BY NAME SELECT * FROM staged")
    connection.unregister("staged")


def comparison_rows(
    connection: duckdb.DuckDBPyConnection,
    measure: str,
    split: str,
    protocol: str,
    systems: Sequence[str],
    *,
    groups: Sequence[str] = (),
    samples: int,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """Compare each of `systems` with each later one: pooled over `groups` (all by default), by the mean of groups if
    there are several, then by group. Yields the columns of `comparisons` from grp on.

    All systems must have been scored on the same sessions. Rates without a reference token are left out; low and high
    are None if there are too few sessions for an interval.
    """
    sessions = connection.execute(
        "SELECT grp, any_value(length), list(errors ORDER BY list_position(?, system)) FROM session_errors "
        "WHERE measure = ? AND split = ? AND protocol = ? AND list_contains(?, system) "
        "AND (len(?) = 0 OR list_contains(?, grp)) GROUP BY grp, session_id ORDER BY session_id",
        [list(systems), measure, split, protocol, list(systems), list(groups), list(groups)],
    ).fetchall()
    if not sessions:
        return
    group_of, lengths, errors = zip(*sessions, strict=True)
    of_group, by_session, by_system = np.array(group_of), np.array(lengths), np.array(errors).T
    several = len(set(of_group[by_session > 0])) > 1
    for group in (POOLED, *([MEAN] if several else []), *sorted(set(group_of))):
        chosen = np.full(len(sessions), True) if group in (POOLED, MEAN) else of_group == group
        scored = by_system[:, chosen], by_session[chosen], of_group[chosen]
        for found in compare_systems(*scored, pooled=group != MEAN, samples=samples, level=LEVEL, seed=seed):
            if not math.isnan(found.difference):
                yield {"grp": group, **_row(found, systems)}


def _row(found: Comparison, systems: Sequence[str]) -> dict[str, Any]:
    percents = {name: 100 * getattr(found, name) for name in ("rate_a", "rate_b", "difference", "low", "high")}
    percents = {name: None if math.isnan(value) else value for name, value in percents.items()}
    counts = {name: getattr(found, name) for name in ("sessions", "p_value", "fewer", "more")}
    return {"system_a": systems[found.a], "system_b": systems[found.b], **counts, **percents}
