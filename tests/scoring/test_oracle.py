"""The oracle of several candidates, worked by hand."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlcslm.errors import FaultyInput, UserError
from mlcslm.scoring.error_counts import ErrorCounts
from mlcslm.scoring.oracle import oracle_counts, score_oracle
from mlcslm.text.protocols import get_protocol

PROTOCOL = get_protocol("mlcslm-2025")
LANGUAGES = Path(__file__).parents[2] / "config" / "languages.tsv"
REFERENCES = {"a": "On a red boat.", "b": "日本語です", "c": "two words"}
CANDIDATES = {"a": ["on the bed goat", None, "on a red goat", "on a red"], "b": ["日本", "日本誤です"]}


def test_the_best_candidate_counts(languages) -> None:
    groups = {"a": languages["English-American"], "b": languages["Japanese"], "c": languages["French"]}
    counts = oracle_counts(REFERENCES, CANDIDATES, PROTOCOL, groups)
    assert list(counts) == ["a", "b", "c"]
    assert counts["a"] == ErrorCounts(1, 4, 0, 0, 1)  # the first of two with one error: a substitution
    assert counts["b"] == ErrorCounts(1, 5, 0, 0, 1)
    assert counts["c"] == ErrorCounts(2, 2, 0, 2, 0)  # nothing was heard
    assert [one.errors for one in oracle_counts(REFERENCES, CANDIDATES, PROTOCOL, groups, first=1).values()] == [
        3,
        3,
        2,
    ]
    with pytest.raises(FaultyInput, match="have no reference"):
        oracle_counts(REFERENCES, {"z": ["a"]}, PROTOCOL, groups)


def test_files_are_read(tmp_path: Path) -> None:
    manifest, hypotheses = tmp_path / "dev.parquet", tmp_path / "hypotheses.parquet"
    rows = {"utterance_id": ["a", "b", "c"], "grp": ["English-American", "Japanese", "French"]}
    pq.write_table(pa.table(rows | {"text": list(REFERENCES.values())}), manifest)
    answers = {"utterance_id": ["c", "b", "a"], "candidates": [None, CANDIDATES["b"], CANDIDATES["a"]]}
    pq.write_table(pa.table(answers), hypotheses)
    errors = {name: one.errors for name, one in score_oracle(manifest, hypotheses, PROTOCOL, LANGUAGES).items()}
    assert errors == {"a": 1, "b": 1, "c": 2}
    pq.write_table(pa.table({"utterance_id": ["a"], "transcript": ["a"]}), hypotheses)
    with pytest.raises(UserError, match="candidates"):
        score_oracle(manifest, hypotheses, PROTOCOL, LANGUAGES)
