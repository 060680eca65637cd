"""The report's benchmark at toy size: that its made-up systems are scored and shown; no time is asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def test_it_builds_and_looks(tmp_path: Path) -> None:
    pytest.importorskip("playwright", reason="playwright is not installed (extra dev)")
    if not any(os.access(Path(folder) / name, os.X_OK) for folder in os.get_exec_path() for name in BROWSERS):
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    ids = ["French-01_001-O1-000000-000250", "Thai-01_001-O1-000000-000300", "Thai-01_001-O2-000310-000400"]
    lengths = tmp_path / "wer.csv"
    lengths.write_text("group,utterance_id,length\n" + "".join(f"x,{name},4\n" for name in ids), encoding="utf-8")
    out = tmp_path / "out.json"
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "report.py"),
        "--utterances",
        str(lengths),
        "--out",
        str(out),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "--systems", "2", "--rounds", "1"], check=True, capture_output=True, env=environment)
    found = json.loads(out.read_text(encoding="utf-8"))
    assert (found["utterances"], found["systems"]) == (3, 2)
    assert {"utterances_usable_seconds", "filter_group_seconds", "filter_text_seconds"} <= found.keys()
