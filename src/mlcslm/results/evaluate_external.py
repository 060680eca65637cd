"""Adds an external system to the results: scores it, rebuilds `results.duckdb` with it, and reads its rates back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlcslm.config.schema import Config
from mlcslm.evaluation.evaluate import score_system, write_system
from mlcslm.evaluation.request import Evaluation
from mlcslm.io.files import restored_on_error
from mlcslm.results.database import collect_database, open_database
from mlcslm.workflow.layout import Layout

_RATES = """
    SELECT measure, protocol, grp, sum(errors) AS errors, sum(length) AS length,
        100.0 * sum(errors) / nullif(sum(length), 0) AS rate
    FROM session_errors
    WHERE system = ? AND split = ?
    GROUP BY measure, protocol, grp
    ORDER BY measure DESC, protocol, grp
"""


def join_results(config: Config, layout: Layout, request: Evaluation) -> dict[str, Any]:
    """Evaluate a system, rebuild the results folder's database with it, and return its rates.

    Keys: those of `system.json`; database; others: systems to compare it with; scores: for each measure and protocol
    the pooled rate with its interval, the mean of the groups' rates, and each group's errors, length (in seconds for
    measure der) and rate (percent). Raises UserError as `evaluate` and `build_database` do; if the database refuses the
    system, everything stays as it was.
    """
    folder = layout.external(request.name, request.split)
    scored = score_system(request)
    with restored_on_error(folder):
        write_system(scored, folder)
        database = collect_database(config, layout)
    return {**scored.card, "database": str(database), **_scores(database, request)}


def _scores(database: Path, request: Evaluation) -> dict[str, Any]:
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    with open_database(database) as connection:
        for measure, protocol, *values in connection.execute(_RATES, [request.name, request.split]).fetchall():
            row = dict(zip(("grp", "errors", "length", "rate"), values, strict=True))
            found.setdefault((measure, protocol), []).append(row)
        ends = connection.execute(
            "SELECT measure, protocol, low, high FROM intervals WHERE system = ? AND split = ?",
            [request.name, request.split],
        ).fetchall()
        others = connection.execute(
            "SELECT DISTINCT system FROM session_errors WHERE split = ? AND system <> ? AND measure IN "
            "(SELECT measure FROM session_errors WHERE system = ?) ORDER BY system",
            [request.split, request.name, request.name],
        ).fetchall()
    intervals = {(measure, protocol): (low, high) for measure, protocol, low, high in ends}
    return {
        "others": [name for (name,) in others],
        "scores": [_score(*key, rows, intervals.get(key, (None, None))) for key, rows in found.items()],
    }


def _score(
    measure: str, protocol: str, rows: list[dict[str, Any]], interval: tuple[float | None, float | None]
) -> dict[str, Any]:
    errors, length = (sum(row[name] for row in rows) for name in ("errors", "length"))
    rates = [row["rate"] for row in rows if row["rate"] is not None]
    return {
        "measure": measure,
        "protocol": protocol,
        "errors": errors,
        "length": length,
        "pooled": 100 * errors / length if length else None,
        "low": interval[0],
        "high": interval[1],
        "mean_of_groups": sum(rates) / len(rates) if rates else None,
        "groups": rows,
    }
