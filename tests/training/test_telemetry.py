"""The columns that a reinforcement stage adds to the training log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlcslm.config.stages import ReinforcementConfig
from mlcslm.io.files import read_rows
from mlcslm.training.log import SCHEMA, write_training_log
from mlcslm.training.telemetry import Telemetry


@pytest.fixture
def telemetry() -> Telemetry:
    stage = ReinforcementConfig(
        kind="reinforcement",
        parent="p",
        trains=("projector",),
        steps=1,
        rewards=("accuracy", "correction"),
        collapse={"format_below": 0.5, "steps": 3},
    )
    return Telemetry(stage, "ckpt/r")


def logged(share: float) -> dict[str, Any]:
    """The part of what trl logs at a step that is kept."""
    return {
        "reward": 1.1,
        "rewards/accuracy/mean": 0.75,
        "rewards/accuracy/std": 0.25,
        "rewards/correction/mean": 0.5,
        "rewards/correction/std": 0.125,
        "kl": 0.01,
        "completions/mean_length": 40.5,
        "think_length": 6.5,
        "frac_reward_zero_std": 0.25,
        "well_formed_share": share,
        "entropy": 1.0,
    }


def rows_of(telemetry: Telemetry, shares: list[float]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for share in shares:
        rows.append(telemetry(logged(share), rows))
    return rows


def test_a_row_holds_every_column(telemetry: Telemetry) -> None:
    (row,) = rows_of(telemetry, [0.75])
    assert row == {
        "reward": 1.1,
        "kl": 0.01,
        "completion_length": 40.5,
        "think_length": 6.5,
        "zero_spread_share": 0.25,
        "well_formed_share": 0.75,
        "reward_accuracy": 0.75,
        "reward_accuracy_std": 0.25,
        "reward_correction": 0.5,
        "reward_correction_std": 0.125,
        "collapsed": 0,
    }
    assert [field.name for field in telemetry.fields] == list(row)


def test_the_start_and_the_end_of_a_collapse_are_reported(
    telemetry: Telemetry, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = rows_of(telemetry, [1.0, 0.4, 0.4, 0.6, 0.4, 0.3, 0.2, 0.1, 0.5, 0.4])
    assert [row["collapsed"] for row in rows] == [0, 0, 0, 0, 0, 0, 1, 1, 0, 0]
    began, ended = capsys.readouterr().err.splitlines()
    assert began.startswith("ckpt/r: collapsed at step 7: 20% of the answers are well formed (collapsed: below 50%")
    assert ended.startswith("ckpt/r: recovered at step 9: 50%")


def test_the_log_has_the_usual_columns_first(telemetry: Telemetry, tmp_path: Path) -> None:
    usual = {"step": 1, "loss": 0.5, "learning_rate": 1e-3, "tokens_per_second": 9.0, "seconds": 1.0}
    (tmp_path / "log.jsonl").write_text(json.dumps(usual | rows_of(telemetry, [0.5])[0]) + "\n")
    write_training_log(tmp_path / "log.jsonl", tmp_path / "log.parquet", "ckpt/r", telemetry)
    table = pq.read_table(tmp_path / "log.parquet")
    assert table.schema.names[: len(SCHEMA)] == SCHEMA.names
    assert table.schema.field("collapsed").type == pa.int8()
    assert table.to_pylist() == [{"checkpoint": "ckpt/r"} | read_rows(tmp_path / "log.jsonl")[0]]
