"""The oracle of several candidates, worked by hand; no choice is better."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcslm.decoding.consensus import choose
from mlcslm.errors import FaultyInput, UserError
from mlcslm.scoring.error_counts import ErrorCounts
from mlcslm.scoring.oracle import ORACLES_SCHEMA, oracle_counts, score_oracle, write_oracles
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


def test_the_first_1_2_4_and_all(tmp_path: Path) -> None:
    manifest, hypotheses, out = (tmp_path / name for name in ("dev.parquet", "hypotheses.parquet", "out.parquet"))
    rows = {"utterance_id": ["a", "b", "c"], "grp": ["English-American", "Japanese", "French"]}
    pq.write_table(pa.table(rows | {"text": list(REFERENCES.values())}), manifest)
    five = ["on the bed goat", None, "on a red goat", "on a red", "on a red boat"]
    pq.write_table(pa.table({"utterance_id": ["b", "a"], "candidates": [CANDIDATES["b"], five]}), hypotheses)
    write_oracles(
        manifest,
        hypotheses,
        out,
        system="s",
        split="dev",
        protocol="mlcslm-2025",
        normalise_hypothesis=False,
        languages=LANGUAGES,
    )
    table = pq.read_table(out)
    assert table.schema.equals(ORACLES_SCHEMA)
    found = table.to_pydict()
    assert list(zip(found["utterance_id"], found["candidates"], found["errors"], strict=True)) == [
        *(("a", number, errors) for number, errors in ((1, 3), (2, 3), (4, 1), (5, 0))),
        *(("b", number, errors) for number, errors in ((1, 3), (2, 1), (4, 1), (5, 1))),
        *(("c", number, 2) for number in (1, 2, 4, 5)),
    ]
    assert found["length"] == [4] * 4 + [5] * 4 + [2] * 4


TEXTS = st.lists(st.sampled_from("abcd"), max_size=5).map(" ".join)


@given(reference=TEXTS, texts=st.lists(TEXTS, min_size=1, max_size=6), weighted=st.booleans(), data=st.data())
def test_no_choice_is_better_than_its_oracle(
    languages, reference: str, texts: list[str], weighted: bool, data: st.DataObject
) -> None:
    group = languages["English-American"]
    answers = [{"transcript": text, "stop_reason": "end"} for text in texts]
    weight = st.floats(0.01, 1)
    weights = [data.draw(weight) if weighted else 1.0 for _ in texts]

    def errors(candidates: list[str], first: int | None = None) -> int:
        of = {"u": candidates}, PROTOCOL, {"u": group}
        return oracle_counts({"u": reference}, *of, first=first)["u"].errors

    chosen = texts[choose(answers, weights, group)]
    assert errors([chosen]) >= errors(texts)
    assert errors(texts, first=1) == errors(texts[:1])
    bests = [errors(texts, first=number) for number in range(1, len(texts) + 1)]
    assert bests == sorted(bests, reverse=True)
