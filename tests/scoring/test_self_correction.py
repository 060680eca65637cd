from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlcslm.errors import UserError
from mlcslm.scoring.self_correction import REFLECTIONS_SCHEMA, write_self_correction
from mlcslm.scoring.wer_counts import score_hypotheses

LANGUAGES = Path(__file__).parents[2] / "config" / "languages.tsv"
TEXTS = {
    "Thai-0001_002-O1-000000-000100": "ไม่ OK",
    "French-0001_002-O2-000000-000100": "Bonjour, ça va ?",
    "French-0001_002-O1-000100-000200": "Oui.",
    "French-0001_002-O1-000200-000300": "Merci bien.",
}
IDS = list(TEXTS)
OPTIONS = {
    "system": "ckpt-10000/greedy",
    "split": "dev",
    "protocol": "mlcslm-2025",
    "normalise_hypothesis": False,
    "languages": LANGUAGES,
}


def think(hypothesis: str, details: str) -> str:
    return f"The speech sounds like: {hypothesis}, but it might have some {details}, let me correct it."


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A manifest, hypotheses in another order and one fewer, and where the output goes."""
    manifest = {"utterance_id": IDS, "grp": ["Thai", "French", "French", "French"], "text": list(TEXTS.values())}
    sessions = ["Thai_0001_002", *["French_0001_002"] * 3]
    answers = {
        "utterance_id": [IDS[1], IDS[0], IDS[2]],
        "transcript": ["bonjour ca va", "ไม่ ok", "oui oui"],
        "think": [
            # Heard bonjour sa for bonjour ça va: 1 substitution, 1 deletion. Named: the first, twice, and an insertion.
            think("bonjour sa", "substitution: sa -> ça, sa -> ça; insertion: euh"),
            think("ไม ok", "deletion: ่"),
            think("oui", "errors: none"),
        ],
    }
    pq.write_table(pa.table(manifest | {"session_id": sessions}), tmp_path / "manifest.parquet")
    pq.write_table(pa.table(answers), tmp_path / "hypotheses.parquet")
    return tmp_path / "manifest.parquet", tmp_path / "hypotheses.parquet", tmp_path / "reflections" / "dev.parquet"


def changed(files: tuple[Path, Path, Path], **columns: list[Any]) -> pa.Table:
    manifest, hypotheses, out = files
    answers = pq.read_table(hypotheses).to_pydict() | columns
    schema = pa.schema([(name, pa.string()) for name in answers])
    pq.write_table(pa.table(answers, schema=schema), hypotheses)
    write_self_correction(manifest, hypotheses, out, **OPTIONS)
    return pq.read_table(out)


def test_rows_by_hand(files: tuple[Path, Path, Path]) -> None:
    table = changed(files)
    assert table.schema == REFLECTIONS_SCHEMA
    assert set(table["system"].to_pylist()) == {"ckpt-10000/greedy"} and set(table["split"].to_pylist()) == {"dev"}
    assert set(table["protocol"].to_pylist()) == {"mlcslm-2025"}
    columns = table.schema.names[3:]
    assert [tuple(row[name] for name in columns) for row in table.to_pylist()] == [
        # utterance, first, final, length, named s i d, true s i d, named right
        (IDS[0], 1, 0, 4, 0, 0, 1, 0, 0, 1, 1),
        (IDS[1], 2, 1, 3, 2, 1, 0, 1, 0, 1, 1),
        (IDS[2], 0, 1, 1, 0, 0, 0, 0, 0, 0, 0),
    ]


def test_final_errors_are_those_of_the_scores(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    for protocol in ("mlcslm-2025", "whisper-norm"):
        options = OPTIONS | {"protocol": protocol}
        write_self_correction(*files, **options)
        score_hypotheses(*files[:2], tmp_path / "scores.parquet", **options)
        scores = {row["utterance_id"]: row for row in pq.read_table(tmp_path / "scores.parquet").to_pylist()}
        rows = pq.read_table(files[2]).to_pylist()
        assert len(rows) == 3
        for row in rows:
            scored = scores[row["utterance_id"]]
            assert (row["final_errors"], row["length"]) == (scored["errors"], scored["length"])
            assert row["protocol"] == scored["protocol"] == protocol


def test_named_and_true_errors_are_of_the_reflection_s_own_protocol(files: tuple[Path, Path, Path]) -> None:
    """whisper-norm takes ç for c and drops Thai marks: fewer errors count, but as many were there to be named."""
    plain = changed(files).to_pylist()
    write_self_correction(*files, **OPTIONS | {"protocol": "whisper-norm"})
    other = pq.read_table(files[2]).to_pylist()
    assert [row["first_errors"] for row in other] != [row["first_errors"] for row in plain]
    for name in REFLECTIONS_SCHEMA.names[7:]:
        assert [row[name] for row in other] == [row[name] for row in plain]


def test_answers_without_a_readable_reflection_have_no_row(files: tuple[Path, Path, Path]) -> None:
    thoughts = ["", None, think("oui", "doubts")]
    assert changed(files, think=thoughts).num_rows == 0
    assert changed(files, think=[None] * 3).schema == REFLECTIONS_SCHEMA


def test_an_answer_that_broke_off_after_thinking_has_lost_its_words(files: tuple[Path, Path, Path]) -> None:
    (row,) = changed(files, transcript=[None, "", ""], think=[think("bonjour", "errors: none"), None, None]).to_pylist()
    assert (row["first_errors"], row["final_errors"], row["true_deletions"]) == (2, 3, 2)


def test_faults_are_named_and_nothing_is_written(files: tuple[Path, Path, Path]) -> None:
    pq.write_table(pa.table({"utterance_id": IDS, "transcript": IDS}), files[1])
    with pytest.raises(UserError, match=r"found the columns .*; expected think as well"):
        write_self_correction(*files, **OPTIONS)
    assert not files[2].exists()
