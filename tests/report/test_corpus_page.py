"""The corpus page: statistics beside the manifests, sessions in two splits, and damaged statistics files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import toy_report

from mlcslm.corpus.statistics import CorpusStatistics, GroupStatistics, Outlier
from mlcslm.errors import UserError
from mlcslm.report import build
from mlcslm.report.build import build_report
from mlcslm.workflow.paths import statistics_file

FRENCH = GroupStatistics(
    *("French", 2, 4, 1234, 10.0, 8.5, 0.125, 0.0001),
    *((0.5, 2.0, 31.0), (9.0, 14.0, 20.0), {"Latin": 0.999, "Cyrillic": 0.001}),
)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: Any) -> Path:
    """Folder with a database of dev and test, without statistics."""
    monkeypatch.setattr(build, "get_plotlyjs", str)
    return toy_report.toy.make_inputs(tmp_path / "results").build(training_logs=[]).parent


def write_statistics(results: Path, split: str, *outliers: Outlier) -> Path:
    path = statistics_file(results, split)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(CorpusStatistics([FRENCH], list(outliers)).as_json()), encoding="utf-8")
    return path


def page_of(results: Path) -> str:
    build_report(results / "results.duckdb", results / "report", audio=False)
    return (results / "report" / "corpus.html").read_text(encoding="utf-8")


def test_numbers_and_outliers_are_those_of_the_files(results: Path) -> None:
    many = [Outlier("script", (f"French_{number}",), "Cyrillic, elsewhere Latin") for number in range(60)]
    write_statistics(results, "dev", Outlier("clipped utterance", ("<b>x</b>",), "9.0 % at full scale"), *many)
    page = page_of(results)
    assert "dev: 10.0 h recorded, 8.5 h of speech, 2 sessions, 1,234 utterances" in page
    cells = ["2", "4", "1,234", "10.00", "8.50", "0.5 2.0 31.0", "9.0 14.0 20.0", "12.5", "0.01"]
    assert "".join(f'<td class="number">{cell}</td>' for cell in cells) in page
    assert "Latin 99.9, Cyrillic 0.1" in page
    assert "clipped utterance: 1" in page and "script: 60" in page and "<b>x" not in page
    assert page.count("Cyrillic, elsewhere Latin") == 50 and "10 more in <code>manifests/dev.stats.json" in page
    assert "utterances.html#split=dev&amp;a=" in page, "outliers lead to the error browser"
    assert 'href="corpus.html"' in (results / "report" / "index.html").read_text(encoding="utf-8")


def test_sessions_in_two_splits_are_found_in_the_database(tmp_path: Path, results: Path) -> None:
    write_statistics(results, "dev")
    write_statistics(results, "test")
    assert "session in two splits" not in page_of(results)
    inputs = toy_report.toy.make_inputs(tmp_path / "shared")
    twice = toy_report.toy.manifest_rows("dev")[0]["session_id"]
    rows = toy_report.toy.manifest_rows("test")
    inputs.with_manifest("train", [row | {"session_id": twice} for row in rows])
    shared = inputs.build(training_logs=[]).parent
    write_statistics(shared, "dev")
    page = page_of(shared)
    assert "session in two splits: 1" in page and "<td>train</td>" in page


@pytest.mark.parametrize("text", ["{", '{"groups": [{"group": "French"}], "outliers": []}', '{"groups": []}'])
def test_a_damaged_statistics_file_is_named(results: Path, text: str) -> None:
    write_statistics(results, "dev").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"dev\.stats\.json: .*Delete it"):
        page_of(results)
    assert not (results / "report").exists()
