"""The benchmark of context at toy size: what it measures and reports; no time is asserted."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def benchmark() -> Iterator[ModuleType]:
    """The benchmark, importable only while these tests run."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield importlib.import_module("context")
    sys.path.remove(str(ROOT / "benchmarks"))
    sys.modules.pop("context")


@pytest.fixture(scope="module")
def checkpoints(
    make_config: Callable[..., Any], train: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """One trained with context and one without."""
    config = make_config({"with": {"steps": 1, "context": 2}, "without": {"steps": 1}})
    folder = tmp_path_factory.mktemp("checkpoints")
    return {name: train(config, name, folder) for name in ("with", "without")}


def test_every_way_answers_everything(
    benchmark: ModuleType, checkpoints: dict[str, Path], tones: Path, tmp_path: Path
) -> None:
    arguments = ["--checkpoint", checkpoints["with"], "--manifest", tones, "--out", tmp_path / "context.json"]
    benchmark.main([*map(str, arguments), "--rounds", "1", "--batch-size", "3", "--max-new-tokens", "3", "--loop"])
    report = json.loads((tmp_path / "context.json").read_text())
    assert (report["sessions"], report["utterances"]) == (2, len(pq.read_table(tones)))
    variants = report["variants"]
    assert list(variants) == ["none", "reference", "hypotheses", "hypotheses, batch by batch", "hypotheses, one by one"]
    assert variants["none"]["throughput_cpu"] == variants["none"]["throughput_wall"] == 1
    assert all(values["mean_tokens"] <= 3 and values["cpu_seconds"] > 0 for values in variants.values())
    # Three ways to the same answers.
    assert [values["as_own"] for values in variants.values()][2:] == [report["utterances"]] * 3


def test_sessions_are_sampled_whole(benchmark: ModuleType) -> None:
    rows = [{"session_id": f"s{i}", "turn": turn} for i in range(7) for turn in range(3)]
    sampled = benchmark.sample_sessions(rows, 3)
    assert len(sampled) == 9
    assert len({row["session_id"] for row in sampled}) == 3
    assert benchmark.sample_sessions(rows, None) == rows


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [("without", [], "trained without context"), ("with", ["--sessions", "5"], "the manifest has only 2")],
)
def test_mistakes_are_named(
    benchmark: ModuleType, checkpoints: dict[str, Path], tones: Path, name, arguments, expected, capsys
) -> None:
    with pytest.raises(SystemExit):
        benchmark.main(["--checkpoint", str(checkpoints[name]), "--manifest", str(tones), *arguments])
    assert expected in capsys.readouterr().err
