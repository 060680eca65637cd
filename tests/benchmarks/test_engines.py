"""The benchmark of engines at toy size: what it measures and reports; no time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # --import-mode=importlib finds nothing beside a conftest
from forked import run_program

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "engines.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_program(SCRIPT, "--size", "tiny", "--utterances", "5", "--batch", "3", *arguments)


def test_all_answer_alike(tmp_path: Path) -> None:
    variants = ["before", "own", "generate"]
    done = run("--tokens", "6", "--rounds", "2", "--variants", *variants, "--out", str(tmp_path / "out.json"))
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert report["identical"] == dict.fromkeys(variants, 5)
    assert {name: len(rounds) for name, rounds in report["seconds"].items()} == dict.fromkeys(variants, 2)
    assert "5 utterances in batches of 3" in done.stdout


def test_vllm_must_be_somewhere(tmp_path: Path) -> None:
    done = run("--variants", "vllm", "--vllm-python", "", "--out", str(tmp_path / "out.json"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("engines: no Python that has vLLM: name it with --vllm-python")
