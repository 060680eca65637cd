"""The training log: one line per step, intact whatever interrupted it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq

from mlcslm.io.files import read_rows
from mlcslm.training.log import SCHEMA, write_training_log


def line(step: int) -> str:
    row = {"step": step, "loss": 1 / step, "learning_rate": 1e-3, "tokens_per_second": 10.0, "seconds": 0.1 * step}
    return json.dumps(row) + "\n"


def test_a_line_truncated_by_a_kill_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(line(1) + line(2) + line(3)[:20])
    assert [row["step"] for row in read_rows(tmp_path / "log.jsonl")] == [1, 2]


def test_a_missing_log_is_empty(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "log.jsonl") == []


def test_the_table_has_the_lines_and_the_checkpoints_name(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(line(1) + line(2))
    write_training_log(tmp_path / "log.jsonl", tmp_path / "training_log.parquet", "ckpt-2000")
    table = pq.read_table(tmp_path / "training_log.parquet")
    assert table.schema == SCHEMA
    assert table.to_pylist() == [{"checkpoint": "ckpt-2000"} | json.loads(line(step)) for step in (1, 2)]
