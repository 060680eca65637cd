"""The file of what stages cost: the plan's operations, for the stages that are asked for."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mlcslm.config.decoding import CtcConfig
from mlcslm.model.ctc import CtcHead
from mlcslm.plan.costs import SCHEMA, ctc_flop, write_stage_costs
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
    assert {row["ctc_flop"] for row in rows} == {None}, "no decoding has a CTC head"
    plan = make_plan(config, throughput=CONFIG / "throughput.yaml")
    expected = {stage.name: stage.steps * stage.flops for stage in plan.stages}
    assert {row["checkpoint"]: row["flop"] for row in rows} == {name: expected[name] for name in names}
    # Without a divergence to the parent, nothing is read a second time, and there is no copy of the parent.
    with_parent, without = (next(one for one in plan.stages if one.name == name) for name in names[1:])
    assert with_parent.flops > without.flops and with_parent.memory["reference"] > without.memory["reference"] == 0


def test_a_head_costs_what_torch_counts(make_config: Callable[..., Any], tones: Path, tmp_path: Path) -> None:
    """Forwards and backwards on frames that need no gradient; its alphabet is that of the training manifest."""
    head = CtcHead(32, "a" * 40)
    with FlopCounterMode(display=False) as counter:
        head(torch.zeros(3, 50, 32)).sum().backward()
    assert ctc_flop(CtcConfig(steps=1, batch_size=3), 32, 40, seconds=1.0) == counter.get_total_flops()
    judged = {"method": "consensus", "consensus": {"candidates": 2, "weights": "ctc"}}
    config = make_config(
        {"a": {"steps": 1}}, results=str(tmp_path), decodings={"greedy": {}, "judged": judged}, ctc={"steps": 5}
    )
    manifest = tmp_path / "manifests" / "train.parquet"
    manifest.parent.mkdir()
    shutil.copy(tones, manifest)
    write_stage_costs(Layout(config), ["a"], tmp_path / "costs.parquet", throughput=CONFIG / "throughput.yaml")
    (row,) = pq.read_table(tmp_path / "costs.parquet").to_pylist()
    rows = pq.read_table(tones).to_pylist()
    mean_s = sum(one["end"] - one["start"] for one in rows) / len(rows)
    letters = len(set("yes no hello there"))
    assert row["ctc_flop"] == pytest.approx(ctc_flop(config.ctc, 32, letters, mean_s))
    # A stage that reads first passes also costs the heads of its folds.
    reading = {"steps": 1, "template": "tagged", "first_pass": "ctc"}
    for folds in (2, 4):
        config = make_config({"b": reading}, results=str(tmp_path), ctc={"steps": 5, "folds": folds})
        write_stage_costs(Layout(config), ["b"], tmp_path / "costs.parquet", throughput=CONFIG / "throughput.yaml")
        (reader,) = pq.read_table(tmp_path / "costs.parquet").to_pylist()
        (stage,) = make_plan(config, throughput=CONFIG / "throughput.yaml").stages
        assert reader["ctc_flop"] == row["ctc_flop"]
        assert reader["flop"] == pytest.approx(stage.flops + folds * row["ctc_flop"])


def test_a_first_pass_of_another_checkpoint_costs_what_is_trained_for_it_once(
    make_config: Callable[..., Any], tmp_path: Path
) -> None:
    stages: dict[str, dict[str, Any]] = {"base": {"steps": 2}, "control": {"steps": 3, "parent": "base"}}
    stages |= {f"fold-{number}": {"steps": 4 + number, "parent": "base", "fold": [number, 2]} for number in (0, 1)}
    reading = {"steps": 1, "template": "tagged"}
    reading["first_pass"] = {"checkpoint": "control", "folds": ["fold-0", "fold-1"]}
    # From the control itself, which is not to be trained again; from elsewhere; and from one that has paid for all.
    parents = {"ours": "control", "apart": "base", "next": "ours"}
    config = make_config(stages | {name: reading | {"parent": parent} for name, parent in parents.items()})
    write_stage_costs(Layout(config), list(parents), tmp_path / "costs.parquet", throughput=CONFIG / "throughput.yaml")
    rows = {row["checkpoint"]: row["flop"] for row in pq.read_table(tmp_path / "costs.parquet").to_pylist()}
    own = {one.name: one.steps * one.flops for one in make_plan(config, throughput=CONFIG / "throughput.yaml").stages}
    folds = own["fold-0"] + own["fold-1"]
    assert rows["ours"] == pytest.approx(own["ours"] + folds)
    assert rows["apart"] == pytest.approx(own["apart"] + folds + own["control"])
    assert rows["next"] == pytest.approx(own["next"])
