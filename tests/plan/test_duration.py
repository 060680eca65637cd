"""The forecast: its operations against those counted from the models, its time against hand-worked schedules."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlcslm.config.reading import read_config
from mlcslm.plan.duration import OVERHEAD_S, SHARES, Operations, PlannedJob, Speed, forecast, seconds_of
from mlcslm.plan.micro_batch import Meter
from mlcslm.plan.shapes import read_shapes
from mlcslm.plan.stages import Planner
from mlcslm.plan.throughput import read_throughput
from mlcslm.plan.workload import SplitSize

REPOSITORY = Path(__file__).parents[2]
SPLIT = SplitSize(100, 3.87, 7.74, 1.0, source="assumed")


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["demo", "paper"])
def test_operations_are_those_of_the_model(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    config, table = read_config(f"config/{preset}.yaml"), read_throughput("config/throughput.yaml")
    meter = Meter(read_shapes(config.models.encoder, config.models.language_model, config.languages), config.models)
    planner = Planner(config, meter, table.text, SPLIT, table.gpus[table.gpu])
    operations = Operations(config, table, {"train": SPLIT, "dev": SPLIT, "test": SPLIT})
    names = ["ckpt-4000", "ckpt-10000", "ckpt-12500/format+accuracy"]
    for name in names[: 3 if preset == "demo" else 2]:
        assert operations.step(name) == pytest.approx(planner(name).flops, rel=0.1)


def test_each_fold_decodes_its_part_of_the_training_set(
    make_config: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    stages = {"whole": {"steps": 1}} | {f"fold-{number}": {"steps": 1, "fold": [number, 3]} for number in range(3)}
    operations = Operations(make_config(stages), read_throughput("config/throughput.yaml"), {"train": SPLIT})

    def of(rule: str, **wildcards: str) -> float:
        return operations.of(PlannedJob(0, rule, wildcards | {"shard": "all"}))

    whole = of("decode_training_set", checkpoint="whole")
    assert of("decode_fold", checkpoint="fold-1", decoding="greedy") == pytest.approx(whole / 3)
    assert of("decode_training_set", checkpoint="fold-1") == pytest.approx(whole / 3)


def fixed(flops: float) -> Any:
    return SimpleNamespace(of=lambda job: flops)


def test_time_is_that_of_the_longest_chain_or_of_all_cores() -> None:
    speed = Speed(1e9, "float32")
    each = OVERHEAD_S["train"] + 10.0
    operations = fixed(10.0 * 1e9 * SHARES["float32"])
    chain = [PlannedJob(n, "train", {}, (n - 1,)) for n in range(3)]
    assert seconds_of(chain, operations, speed, cores=8) == pytest.approx(3 * each)
    apart = [PlannedJob(n, "train", {}) for n in range(4)]
    assert seconds_of(apart, operations, speed, cores=2) == pytest.approx(2 * each)
    assert seconds_of([], operations, speed, cores=2) == 0


def test_a_short_run_is_not_measured_and_a_long_one_is_named(
    make_config: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr("mlcslm.plan.duration.measure_speed", lambda precision: Speed(89e9, "float32"))
    config = make_config({"ckpt-2000": {"steps": 7}})
    assert forecast(config, [PlannedJob(0, "table", {"table": "table6"})], 2, "Table 6") is None
    said = forecast(config, [PlannedJob(0, "train", {"checkpoint": "ckpt-2000"})], 2, "Table 6")
    assert said == "Table 6: about a minute on this machine (2 cores, 89 GFLOP/s each in float32)"
    nowhere = {"kind": "folder", "folders": {split: f"nowhere/{split}" for split in ("train", "dev")}}
    config = make_config({"ckpt-2000": {"steps": 7}}, corpus=nowhere)
    said = forecast(config, [PlannedJob(0, "train", {"checkpoint": "ckpt-2000"})], 2, "Table 6")
    assert said is not None
    assert said.endswith("in float32), if train, dev were as large as MLC-SLM's")


def test_shapes_are_read_from_folders_and_the_shipped_table(tmp_path: Path) -> None:
    from mlcslm.plan.duration import _shape

    (tmp_path / "config.json").write_text(json.dumps({"d_model": 7}))
    assert _shape(str(tmp_path)) == {"d_model": 7}
    assert _shape("openai/whisper-base")["d_model"] == 512
