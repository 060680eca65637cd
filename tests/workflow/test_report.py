"""The report as the workflow builds it, and as `mlcslm report` builds it from the same database."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any


def test_workflow_builds_the_report_of_all_its_tables(finished: Any, tmp_path: Path) -> None:
    toy = finished.copied(tmp_path)
    page = toy.results / "report" / "index.html"
    planned = toy.planned(page)
    assert planned["report"] == 1 and planned["table"] == 3  # Table 6 is there; 1, 2 and 3 have rows too
    toy.run(page)
    pages = {path.name for path in page.parent.glob("*.html")}
    # Whether so small a model reflects is chance.
    usual = {"index.html", "corpus.html", "training.html", "groups.html", "words.html", "utterances.html"}
    assert pages - {"reasoning.html"} == usual
    assert "toy" in page.read_text(encoding="utf-8")
    assert len(list((page.parent / "audio" / "dev").glob("*.flac"))) == 3, "one session per group"
    assert toy.planned(page) == {}
    log = (toy.results / "logs" / "report.log").read_text(encoding="utf-8")
    assert not re.search("No audio", log)

    command = [
        sys.executable,
        "-c",
        "from mlcslm.cli import main; main()",
        "report",
        "--no-audio",
        "--out",
        str(tmp_path / "mine"),
    ]
    command += ["--database", str(toy.results / "results.duckdb")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(tmp_path / "mine" / "index.html")
    assert {path.name for path in (tmp_path / "mine").glob("*.html")} == pages
    assert not (tmp_path / "mine" / "audio").exists()
