"""Segments are transcribed as utterances are: the same decoder, every segment, whatever the batch."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlcslm.config.decoding import DecodingConfig
from mlcslm.decoding.generation import SCHEMA, SEGMENT_COLUMNS, DecodingPaths, decode_split, transcribe_segments
from mlcslm.diarization.pipeline import SEGMENTS_SCHEMA
from mlcslm.formats.diarizer_output import write_transcripts
from mlcslm.formats.seglst import read_seglst
from mlcslm.formats.stm import read_stm

GREEDY = DecodingConfig(max_new_tokens=12, batch_size=5)


@pytest.fixture(scope="module")
def checkpoint(make_config, train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    stage = {"trains": ["projector"], "template": "plain", "steps": 1}
    return train(make_config({"a": stage}), "a", tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def segments(tones: Path, tmp_path: Path) -> Path:
    """The utterances of the tone corpus as segments that a diarizer might have found."""
    rows = pq.read_table(tones).to_pylist()
    rows = [row | {"recording": row["session_id"], "speaker": f"S{row['speaker'][1]}", "text": None} for row in rows]
    pq.write_table(pa.Table.from_pylist(rows, schema=SEGMENTS_SCHEMA), tmp_path / "segments.parquet")
    return tmp_path / "segments.parquet"


def test_segments_get_the_transcripts_of_the_same_utterances(
    checkpoint: Path, segments: Path, tones: Path, tmp_path: Path, languages
) -> None:
    out = tmp_path / "hypotheses.parquet"
    transcribe_segments(checkpoint, segments, out, GREEDY, languages)
    decode_split(DecodingPaths(checkpoint, tones, tmp_path / "track1.parquet"), GREEDY, languages)
    found, expected = pq.read_table(out), pq.read_table(tmp_path / "track1.parquet")
    assert found.column_names == [*SCHEMA.names, *SEGMENT_COLUMNS]
    for column in ("utterance_id", "raw_text", "transcript"):
        assert found[column].to_pylist() == expected[column].to_pylist()
    for column in SEGMENT_COLUMNS:
        assert found[column].to_pylist() == pq.read_table(segments)[column].to_pylist()


def test_transcripts_reach_stm_and_seglst(checkpoint: Path, segments: Path, tmp_path: Path, languages) -> None:
    out, stm, seglst = (tmp_path / name for name in ("hypotheses.parquet", "hypothesis.stm", "hypothesis.seglst.json"))
    transcribe_segments(checkpoint, segments, out, GREEDY, languages)
    table = pq.read_table(out)
    # A malformed answer has no transcript, an empty one no words: both are entries.
    texts = [None, "", *["two  words"] * (table.num_rows - 2)]
    place = table.column_names.index("transcript")
    pq.write_table(table.set_column(place, "transcript", pa.array(texts, pa.string())), out)
    write_transcripts(out, stm, seglst)
    rows = table.to_pylist()
    for utterances in (read_stm(stm), read_seglst(seglst)):
        assert [(u.recording, u.speaker, u.start, u.end) for u in utterances] == [
            (row["recording"], row["speaker"], row["start"], row["end"]) for row in rows
        ]
        assert [" ".join(u.text.split()) for u in utterances] == ["", "", *["two words"] * (table.num_rows - 2)]


def test_no_segments_at_all(checkpoint: Path, segments: Path, tmp_path: Path, languages) -> None:
    pq.write_table(pq.read_table(segments).slice(0, 0), segments)
    out = tmp_path / "hypotheses.parquet"
    transcribe_segments(checkpoint, segments, out, GREEDY, languages)
    write_transcripts(out, tmp_path / "hypothesis.stm", tmp_path / "hypothesis.seglst.json")
    assert pq.read_table(out).num_rows == 0
    assert (tmp_path / "hypothesis.stm").read_text() == ""
    assert read_seglst(tmp_path / "hypothesis.seglst.json") == []
