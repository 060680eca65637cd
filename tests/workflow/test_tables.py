"""Tables 1 and 2 beside Table 6: nothing more has to be trained or decoded for them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from mlcslm.scoring.self_correction import REFLECTIONS_SCHEMA


def test_tables_1_and_2_of_what_table_6_measured(finished: Any, tmp_path: Path) -> None:
    toy = finished.copied(tmp_path)
    tables = [toy.results / "tables" / f"{name}.csv" for name in ("table1", "table2")]
    assert toy.planned(*tables) == {"table": 2}  # the database has all that they need
    before = toy.table.stat().st_mtime_ns
    toy.run(*tables)
    assert toy.table.stat().st_mtime_ns == before and toy.planned(*tables) == {}
    stages, rewards = (list(csv.DictReader(table.open(encoding="utf-8"))) for table in tables)
    assert [row["stage"] for row in stages] == ["ckpt-2000", "ckpt-4000", "ckpt-7000", "ckpt-9000", "ckpt-10000"]
    assert rewards[0]["reward_set"] == "ckpt-10000 (without RL)"
    for row in stages + rewards:
        # Sessions are too few for intervals.
        assert {name for name, value in row.items() if value == ""} == {"dev_low", "dev_high"}
    for row in stages:
        losses = pq.read_table(toy.results / "checkpoints" / row["stage"] / "training_log.parquet")["loss"].to_pylist()
        last = losses[-8:] if len(losses) == 80 else losses[-1:]
        assert float(row["training_loss"]) == pytest.approx(sum(last) / len(last), abs=6e-4)
    # The same system, the same cells in both.
    shared = ("dev", "dev_low", "dev_high", "dev_published")
    assert [stages[-1][name] for name in shared] == [rewards[0][name] for name in shared]


def test_scoring_counts_reflections_of_every_system(finished: Any) -> None:
    for path in (finished.results / "scores").rglob("*.parquet"):
        reflections = finished.results / "reflections" / path.relative_to(finished.results / "scores")
        assert pq.read_schema(reflections) == REFLECTIONS_SCHEMA
    with duckdb.connect(finished.results / "results.duckdb", read_only=True) as database:
        thinking = database.execute("SELECT DISTINCT system FROM hypotheses WHERE think IS NOT NULL").fetchall()
        rendered = database.execute("SELECT DISTINCT system FROM self_correction").fetchall()
    assert set(rendered) == set(thinking)
