"""How sure the rates of `results.duckdb` are: bootstrap intervals, and comparisons of all pairs of systems."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from mlcslm.runtime.progress import watched
from mlcslm.scoring.bootstrap import bootstrap_interval
from mlcslm.scoring.compare import Comparison, compare_systems

LEVEL = 0.95
POOLED = "all"
_COMPARISONS = pa.schema(
    [
        *((name, pa.string()) for name in ("measure", "split", "grp", "system_a", "system_b")),
        ("sessions", pa.int32()),
        *((name, pa.float64()) for name in ("rate_a", "rate_b", "difference", "low", "high", "p_value")),
        *((name, pa.int32()) for name in ("fewer", "more")),
    ]
)


def insert_intervals(connection: duckdb.DuckDBPyConnection, samples: int, seed: int) -> None:
    """Fill `intervals` from `session_errors`; without any reference token there is no rate and no interval."""
    sessions = connection.execute(
        "SELECT measure, system, split, protocol, list(errors ORDER BY session_id), list(length ORDER BY session_id) "
        "FROM session_errors GROUP BY ALL HAVING sum(length) > 0 ORDER BY ALL"
    ).fetchall()
    for *key, errors, lengths in watched(sessions, "intervals", "system"):
        ends = bootstrap_interval(np.array(errors), np.array(lengths), samples=samples, level=LEVEL, seed=seed)
        connection.execute("INSERT INTO intervals VALUES (?, ?, ?, ?, ?, ?)", [*key, *(100 * end for end in ends)])


def insert_comparisons(connection: duckdb.DuckDBPyConnection, protocol: str, samples: int, seed: int) -> None:
    """Fill `comparisons` from `session_errors` under `protocol`; rates without any reference token are not compared."""
    scored = connection.execute(
        "SELECT measure, split, list(system ORDER BY place) FROM ("
        "SELECT DISTINCT measure, split, system, place FROM session_errors JOIN ("
        "SELECT system, rowid AS place FROM systems UNION ALL SELECT diarizer, rowid FROM diarizers) USING (system) "
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
    """Each of `systems` with each later one: pooled over `groups` (all by default), then each group, from grp on the
    columns of `comparisons`.

    All systems must have been scored on the same sessions. Rates without any reference token are left out.
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
    for group in (POOLED, *sorted(set(group_of))):
        chosen = np.full(len(sessions), True) if group == POOLED else of_group == group
        options = {"samples": samples, "level": LEVEL, "seed": seed}
        for found in compare_systems(by_system[:, chosen], by_session[chosen], **options):
            if not math.isnan(found.difference):
                yield {"grp": group, **_row(found, systems)}


def _row(found: Comparison, systems: Sequence[str]) -> dict[str, Any]:
    percents = {name: 100 * getattr(found, name) for name in ("rate_a", "rate_b", "difference", "low", "high")}
    counts = {name: getattr(found, name) for name in ("sessions", "p_value", "fewer", "more")}
    return {"system_a": systems[found.a], "system_b": systems[found.b], **counts, **percents}
