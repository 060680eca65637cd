"""The scoring benchmark at toy size: that both sides count the same, and what it reports; no time is asserted."""

from __future__ import annotations

import csv
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "diarization_scoring.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), "--rounds", "1", "--jobs", "2", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_counts_agree_and_times_are_reported(tmp_path: Path):
    utterances = [
        {
            "group": group,
            "utterance_id": f"{group}-{session}-O{1 + n % 2}-{300 * n:06d}-{300 * n + 250:06d}",
            "length": 6,
        }
        for group, session in (("English-Indian", "1_2"), ("French", "1_2"), ("Thai", "1_2"), ("Thai", "1_3"))
        for n in range(8)
    ]
    recordings = ("Indian_1_2", "French_1_2", "Thai_1_2", "Thai_1_3")
    counts = {"length": 48, "insertions": 10, "deletions": 5, "substitutions": 5}
    result = run(
        *("--utterances", str(write(tmp_path / "wer.csv.gz", utterances))),
        *("--rates", str(write(tmp_path / "tcpwer.csv.gz", [{"recording_id": name, **counts} for name in recordings]))),
        *("--sessions", "4", "--out", str(tmp_path / "out.json")),
    )
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "out.json").read_text())
    assert (report["recordings"], report["groups"], report["utterances"], report["length"]) == (4, 3, 32, 192)
    assert 0 < report["errors"] == report["insertions"] + report["deletions"] + report["substitutions"]
    assert all(len(times) == 1 and times[0] > 0 for kind in ("elapsed_s", "cpu_s") for times in report[kind].values())
    assert "ours faster" in result.stdout and "meeteval-wer, one call per language" in result.stdout


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    result = run("--utterances", str(tmp_path / "no.csv"))
    assert result.returncode == 1
    assert "no.csv: no such file" in result.stderr and "Traceback" not in result.stderr
