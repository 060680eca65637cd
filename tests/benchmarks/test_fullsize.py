"""The full-size benchmark at toy size: what it measures and reports; no time is asserted."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from mlcslm.errors import UserError

ROOT = Path(__file__).parents[2]
MODULES = ("fullsize", "fullsize_steps", "fullsize_inputs", "foundation")
TRAINS = ["projector", "embedding", "head", "lm_lora", "encoder_lora"]


@pytest.fixture(scope="module")
def benchmark() -> Iterator[ModuleType]:
    """The benchmark, importable only while these tests run."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield importlib.import_module("fullsize")
    sys.path.remove(str(ROOT / "benchmarks"))
    for name in MODULES:
        sys.modules.pop(name)


@pytest.fixture(scope="module")
def preset(
    make_config: Callable[..., Any], make_language_model: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Two supervised stages and one of reinforcement; the language model has rows for the benchmark's tokenizer."""
    reward = {"kind": "reinforcement", "rewards": ["format"], "max_new_tokens": 6, "batch_size": 2, "accumulation": 2}
    config = make_config(
        {
            "first": {"steps": 9, "batch_size": 2, "accumulation": 2},
            "same": {"steps": 5, "batch_size": 2, "accumulation": 2},
            "second": {"parent": "first", "trains": TRAINS, "template": "reasoning", "steps": 9, "batch_size": 2},
            "third": reward | {"parent": "second", "trains": TRAINS, "template": "reasoning", "steps": 9},
        },
        decodings={
            "greedy": {"max_new_tokens": 5, "batch_size": 2},
            "beam": {"method": "beam", "beams": 2, "max_new_tokens": 4, "batch_size": 2},
        },
        models={"language_model": make_language_model(spare=1024)},
        reasoning={"checkpoint": "first"},
    )
    file = tmp_path_factory.mktemp("preset") / "toy.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_defaults=True)), encoding="utf-8")
    return file


def test_every_kind_of_stage_and_decoding_is_measured(benchmark: ModuleType, preset: Path, tmp_path: Path) -> None:
    out = tmp_path / "fullsize.json"
    arguments = ["--config", preset, "--seconds", "0.5", "--longest", "1.0", "--steps", "1", "--out", out]
    benchmark.main([*map(str, arguments)])
    report = json.loads(out.read_text(encoding="utf-8"))
    assert list(report["stages"]) == ["first", "second", "third"]  # the others train alike
    for stage in report["stages"].values():
        assert stage["seconds_a_step"] > 0 < stage["tokens_a_second"]
        # The trainers count the tokens of the batches that they had; the plan has had none.
        counted = stage["tokens_a_second"] * stage["seconds_a_step"]
        assert counted == pytest.approx(stage["planned_tokens_a_step"])
        assert stage["planned_peak_bytes"] == sum(stage["planned_memory"].values())
        assert stage["share_of_peak"] is None is stage["peak_bytes"]  # a CPU
    assert {name: one["answer_tokens"] for name, one in report["decodings"].items()} == {"greedy": 5, "beam": 4}
    assert report["shares"] == {}
    assert "first" in "\n".join(benchmark.readable(report))


def test_what_the_preset_has_not_is_refused(benchmark: ModuleType, preset: Path, tmp_path: Path) -> None:
    options = benchmark._parser().parse_args(["--config", str(preset), "--stages", "fourth"])
    with pytest.raises(UserError, match="stages has no fourth; it has first, same, second, third"):
        benchmark.run(options)


def test_shares_are_printed_as_the_throughput_table_has_them(benchmark: ModuleType) -> None:
    machine = {"peak_tflops": 989.0, "device": "NVIDIA H100", "torch": "2.13.0"}
    stage = {"kind": "supervised", "adapters": False, "share_of_peak": 0.4}
    report = {
        "date": "2026-01-01",
        "machine": machine,
        "stages": {
            "a": stage,
            "b": stage | {"share_of_peak": 0.2},
            "c": stage | {"adapters": True, "share_of_peak": 0.1},
            "d": stage | {"kind": "reinforcement", "share_of_peak": 0.01},
            "e": {"out_of_memory": "CUDA out of memory"},
        },
        "decodings": {"greedy": {"beams": 1, "step_ms": 31.26}, "beam": {"beams": 8, "step_ms": 99.0}},
    }
    assert benchmark.measured_shares(report) == {
        "source": "measured 2026-01-01, NVIDIA H100, torch 2.13.0",
        "training": 0.3,
        "training_adapters": 0.1,
        "step_ms": 31.3,
    }
