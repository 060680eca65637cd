"""The benchmarks of reinforcement at toy size: what they measure and report; no time is asserted."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # --import-mode=importlib finds nothing beside a conftest
from forked import run_program

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def report_of(out: Path, script: str, *arguments: str) -> tuple[dict, str]:
    done = run_program(BENCHMARKS / script, "--out", out, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text(encoding="utf-8")), done.stdout


@pytest.mark.slow
def test_both_ways_to_sample_give_all_answers(tmp_path: Path) -> None:
    options = ["--size", "demo", "--utterances", "3", "--micro-batch", "2", "--tokens", "4", "--rounds", "2"]
    report, printed = report_of(tmp_path / "out.json", "rollouts.py", *options)
    assert report["answers"] == [2, 2]
    for kind, ratio in (("seconds", "ratio"), ("cpu_seconds", "ratio_cpu")):
        old, new = report[kind]["generate"], report[kind]["search"]
        assert report[ratio] == pytest.approx([a / b for a, b in zip(old, new, strict=True)])
    assert "3 utterances, 2 multinomial and 2 beam-sampled answers of 4 tokens each" in printed


@pytest.mark.slow
def test_even_cuts_are_closer_to_the_number_of_processes(tmp_path: Path) -> None:
    ends = np.random.default_rng(0).integers(30, 900, 600).tolist()
    rows = [f"French,French-0001_001-O1-000000-{end:06d},3" for end in ends]
    (tmp_path / "lengths.csv").write_text("\n".join(["group,utterance_id,length", *rows]), encoding="utf-8")
    options = ["--lengths", str(tmp_path / "lengths.csv"), "--batch-size", "4", "--accumulation", "8"]
    report, printed = report_of(tmp_path / "out.json", "balance.py", *options, "--processes", "1", "4")
    drawn, cut = (report["speedups"][f"{name}, 0 s of text"] for name in ("as drawn", "cut evenly"))
    assert drawn["1"] == cut["1"] == pytest.approx(1)
    assert drawn["4"] < cut["4"] <= 4
    assert "600 utterances in steps of 8 micro-batches of 4" in printed
