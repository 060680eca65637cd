"""The decoding benchmark at toy size: what it measures and reports; no time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))  # --import-mode=importlib finds nothing beside a conftest
from forked import run_program

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "decoding.py"


@pytest.fixture(scope="module")
def benchmark(
    make_config: Callable[..., Any], train: Callable[..., Path], tones: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("benchmark")
    decodings = {"short": {"max_new_tokens": 6}, "wide": {"method": "beam", "beams": 2, "max_new_tokens": 6}}
    config = make_config({"a": {"steps": 1}}, decodings=decodings)
    checkpoint = train(config, "a", folder)
    (folder / "config.yaml").write_text(yaml.safe_dump(json.loads(config.model_dump_json())), encoding="utf-8")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        files = ["--config", folder / "config.yaml", "--checkpoint", checkpoint, "--manifest", tones]
        done = run_program(SCRIPT, *files, "--out", folder / "out.json", *arguments, folder=folder)
        done.report = json.loads((folder / "out.json").read_text()) if done.returncode == 0 else None
        return done

    return run


def test_everything_is_measured_with_and_without(benchmark) -> None:
    done = benchmark("--decodings", "short", "wide", "--utterances", "6", "--batch", "3", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    assert list(done.report["measured"]) == [
        "buckets, short",
        "buckets, wide",
        "shared prefix, wide",
        "2 decodings in one job",
        "the whole",
    ]
    for name, values in done.report["measured"].items():
        for kind in ("clock", "cpu"):
            assert values[kind]["ratio"] == pytest.approx(values[kind]["without_s"] / values[kind]["with_s"])
        assert name in done.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--decodings", "other"), "no decoding other; it has short, wide"),
        ((), "none of Table 4's decodings"),
        (("--decodings", "short", "--utterances", "99"), "found 24 utterances, 99 requested"),
        (("--decodings", "short", "--manifest", "nowhere.parquet"), "nowhere.parquet: no such manifest"),
    ],
)
def test_mistakes_are_named(benchmark, arguments: tuple[str, ...], expected: str) -> None:
    done = benchmark(*arguments)
    assert done.returncode == 1
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
