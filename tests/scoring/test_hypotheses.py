from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlcslm.errors import FaultyInput, UserError
from mlcslm.scoring.wer_counts import score_hypotheses

LANGUAGES = Path(__file__).parents[2] / "config" / "languages.tsv"
IDS = ["Thai-0001_002-O1-000000-000100", "French-0001_002-O2-000000-000100", "French-0001_002-O1-000100-000200"]
MANIFEST = {
    "utterance_id": IDS,
    "session_id": ["Thai_0001_002", "French_0001_002", "French_0001_002"],
    "grp": ["Thai", "French", "French"],
    "text": ["ไม่ OK", "Bonjour, ça va ?", "Oui."],
    "start": [0.0, 0.0, 1.0],
}


class Files:
    """A manifest and hypotheses on disk, and the scores made of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def score(self, hypotheses: dict[str, Any], manifest: dict[str, Any] = MANIFEST, **options: Any) -> pa.Table:
        for name, columns in (("manifest", manifest), ("hypotheses", hypotheses)):
            pq.write_table(pa.table(columns), self.folder / f"{name}.parquet")
        out = self.folder / "scores" / "dev.parquet"
        named = {
            "system": "ckpt-7000/greedy",
            "split": "dev",
            "protocol": "mlcslm-2025",
            "normalise_hypothesis": False,
            "languages": LANGUAGES,
        }
        paths = (self.folder / "manifest.parquet", self.folder / "hypotheses.parquet", out)
        score_hypotheses(*paths, **(named | options))
        return pq.read_table(out)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_one_row_an_utterance_in_the_manifest_s_order(files: Files, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        scores = files.score({"utterance_id": [IDS[2], IDS[0]], "transcript": ["oui oui", "ไม่ ok"], "tokens": [3, 9]})
    assert scores.to_pylist() == [
        {
            "system": "ckpt-7000/greedy",
            "split": "dev",
            "protocol": "mlcslm-2025",
            "utterance_id": utterance_id,
            "session_id": session,
            "grp": group,
            "length": length,
            "errors": errors,
            "insertions": insertions,
            "deletions": deletions,
            "substitutions": 0,
        }
        for utterance_id, session, group, length, errors, insertions, deletions in [
            (IDS[0], "Thai_0001_002", "Thai", 4, 0, 0, 0),
            (IDS[1], "French_0001_002", "French", 3, 3, 0, 3),
            (IDS[2], "French_0001_002", "French", 1, 1, 1, 0),
        ]
    ]
    assert scores.schema.types[:6] == [pa.string()] * 6
    assert scores.schema.types[6:] == [pa.int32()] * 5
    assert "no hypothesis for 1 of 3 utterances" in caplog.text


def test_normalised_hypotheses_are_labelled(files: Files):
    transcripts = {"utterance_id": IDS, "transcript": ["ไม่ OK!", "BONJOUR, ça va?", "Oui!"]}
    raw, normalised = (files.score(transcripts, normalise_hypothesis=switch) for switch in (False, True))
    assert set(raw["protocol"].to_pylist()) == {"mlcslm-2025"}
    assert raw["errors"].to_pylist() == [1, 2, 1]
    assert set(normalised["protocol"].to_pylist()) == {"mlcslm-2025+normalised-hypothesis"}
    assert normalised["errors"].to_pylist() == [0, 0, 0]


def test_null_transcripts_are_missing_ones(files: Files):
    scores = files.score({"utterance_id": IDS, "transcript": ["ไม่ ok", None, ""]})
    assert scores["deletions"].to_pylist() == [0, 3, 1]


@pytest.mark.parametrize(
    ("hypotheses", "manifest", "message"),
    [
        (
            {"utterance_id": [*IDS, "French-0001_002-O1-000100-000201"], "transcript": ["a"] * 3 + [None]},
            MANIFEST,
            r"hypotheses.parquet: 1 of 4 hypotheses have no reference[\s\S]*nearest: French-0001_002-O1-000100-000200",
        ),
        (
            {"utterance_id": [IDS[0], IDS[0]], "transcript": ["a", "b"]},
            MANIFEST,
            r"hypotheses.parquet: 1 utterance ids occur more than once:\s+Thai-0001_002-O1-000000-000100",
        ),
        (
            {"utterance_id": IDS, "transcript": ["a"] * 3},
            MANIFEST | {"utterance_id": [IDS[0], *IDS[:2]]},
            r"manifest.parquet: 1 utterance ids occur more than once",
        ),
        (
            {"utterance_id": IDS, "transcript": ["a"] * 3},
            MANIFEST | {"text": ["a", None, "b"]},
            r"manifest.parquet: 1 of 3 utterances have no reference text[\s\S]*French-0001_002-O2-000000-000100",
        ),
        (
            {"utterance_id": IDS, "transcript": ["a"] * 3},
            MANIFEST | {"grp": ["Thai", "French", "Frensh"]},
            r"manifest.parquet: found groups Frensh, which .*languages.tsv does not list",
        ),
        ({"utterance_id": IDS, "raw_text": ["a"] * 3}, MANIFEST, r"found the columns .*; expected transcript as well"),
    ],
)
def test_faults_are_named_and_nothing_is_written(files: Files, hypotheses: dict, manifest: dict, message: str):
    with pytest.raises(UserError, match=message):
        files.score(hypotheses, manifest)
    assert not (files.folder / "scores").exists()


def test_files_that_are_not_parquet_are_named(tmp_path: Path):
    text = tmp_path / "manifest.parquet"
    text.write_text("not parquet")
    options = {"system": "s", "split": "dev", "protocol": "mlcslm-2025", "normalise_hypothesis": False}
    with pytest.raises(UserError, match=r"manifest.parquet: not a Parquet file"):
        score_hypotheses(text, text, tmp_path / "out", **options, languages=LANGUAGES)
    with pytest.raises(UserError, match=r"nowhere.parquet: no such file"):
        score_hypotheses(tmp_path / "nowhere.parquet", text, tmp_path / "out", **options, languages=LANGUAGES)


def test_a_user_error_is_a_list_of_faults(files: Files):
    with pytest.raises(FaultyInput) as caught:
        files.score({"utterance_id": ["x", "y"], "transcript": ["a", "b"]})
    assert len(caught.value.faults) == 2
