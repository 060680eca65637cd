"""Table 8 from end to end: a recipe that chooses among candidates, its control, their costs and the bound."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from mlcslm.results.database import open_database

pytestmark = pytest.mark.slow


def test_table_8_is_made_and_no_choice_is_better_than_its_oracle(finished: Any, tmp_path: Path) -> None:
    choosing = {"method": "consensus", "max_new_tokens": 20, "batch_size": 2}
    choosing["consensus"] = {"candidates": 3, "weights": "ctc"}
    toy = finished.copied(tmp_path).changed(
        {
            "decodings.choosing": choosing,
            "ctc": {"steps": 3, "batch_size": 4},
            "recipes": {
                "plain": {"checkpoint": "ckpt-4000"},
                "ours": {"checkpoint": "ckpt-7000", "decoding": "choosing", "control": "plain"},
            },
        }
    )
    table = toy.results / "tables" / "table8.csv"
    toy.run(table)
    rows = {row["recipe"]: row for row in csv.DictReader(table.open(encoding="utf-8"))}
    plain, ours = rows["plain"], rows["ours"]
    assert float(ours["dev_difference"]) == pytest.approx(float(ours["dev"]) - float(plain["dev"]), abs=0.011)
    assert float(ours["training_mtokens"]) >= 0 and float(ours["seconds_per_minute"]) > 0
    with open_database(toy.results / "results.duckdb") as connection:
        bounds = connection.execute(
            "SELECT split, among, oracle_errors, errors FROM bounds WHERE system = 'ckpt-7000/choosing' ORDER BY ALL"
        ).fetchall()
        costs = dict(connection.execute("SELECT checkpoint, flop FROM training_costs").fetchall())
    assert costs["ckpt-7000"] > costs["ckpt-4000"] > 0
    assert [row[:2] for row in bounds] == [(split, among) for split in ("dev", "test") for among in (1, 2, 3)]
    assert all(chosen >= best for _, among, best, chosen in bounds if among == 3)
