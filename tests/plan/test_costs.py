"""The file of what stages cost: the plan's operations, for the stages that are asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mlcslm.plan.costs import SCHEMA, write_stage_costs
from mlcslm.plan.plan import make_plan
from mlcslm.workflow.layout import Layout

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).parents[2] / "config"
TRAINS = ["projector", "embedding", "head", "lm_lora"]


def test_costs_are_the_plans(make_config: Callable[..., Any], tmp_path: Path) -> None:
    sampled = {"kind": "reinforcement", "parent": "ckpt-4000", "trains": TRAINS, "steps": 3, "rewards": ["error_rate"]}
    sampled |= {"template": "tagged", "beam_rollouts": 0}
    stages = {
        "ckpt-2000": {"steps": 7},
        "ckpt-4000": {"parent": "ckpt-2000", "steps": 5, "trains": TRAINS, "template": "tagged"},
        "sampled": sampled,
        "sampled-freely": sampled | {"kl_weight": 0},
    }
    config = make_config(stages, results=str(tmp_path))
    out = tmp_path / "costs.parquet"
    names = [name for name in stages if name != "ckpt-4000"]
    write_stage_costs(Layout(config), names, out, throughput=CONFIG / "throughput.yaml")
    table = pq.read_table(out)
    assert table.schema.equals(SCHEMA)
    rows = table.to_pylist()
    assert [(row["checkpoint"], row["parent"], row["steps"]) for row in rows] == [
        ("ckpt-2000", None, 7),
        ("sampled", "ckpt-4000", 3),
        ("sampled-freely", "ckpt-4000", 3),
    ]
    plan = make_plan(config, throughput=CONFIG / "throughput.yaml")
    expected = {stage.name: stage.steps * stage.flops for stage in plan.stages}
    assert {row["checkpoint"]: row["flop"] for row in rows} == {name: expected[name] for name in names}
    # Without a divergence to the parent, nothing is read a second time, and there is no copy of the parent.
    with_parent, without = (next(one for one in plan.stages if one.name == name) for name in names[1:])
    assert with_parent.flops > without.flops and with_parent.memory["reference"] > without.memory["reference"] == 0
