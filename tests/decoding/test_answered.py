"""Sessions answered by a model: from what it says of each stretch to a session's turns and words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
import soundfile

from mlcslm.config.decoding import DecodingConfig
from mlcslm.config.languages import Group
from mlcslm.corpus.manifest import read_manifest, write_manifest
from mlcslm.decoding.answered import _turns, answer_sessions, stretches_between_pauses
from mlcslm.decoding.decoder import Decoder
from mlcslm.diarization.pipeline import Diarizer
from mlcslm.formats.segments import Segment
from mlcslm.io.parquet import read_table
from mlcslm.text.templates import said_in
from mlcslm.training.stretches import SAID, stretches_of

LANGUAGES = {"French": Group("French", "French", "fr", "<LANG_FR>", "word", "Transcrivez")}


class Loudness:
    """Embeds a window by whether it is loud."""

    def embed_windows(self, audio: Any, windows: Any, batch_size: int = 64) -> Any:
        loud = [np.abs(audio[round(a * 16_000) : round(b * 16_000)]).mean() > 0.25 for a, b in windows]
        return np.array([[1.0, 0.0] if one else [0.0, 1.0] for one in loud], np.float32).reshape(-1, 2)


class Detector:
    max_segment_s = 8.0

    def __call__(self, waveform: Any) -> list[Segment]:
        return []


def turns(path: Path, *answers: tuple[float, str]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    # Loud, quiet, quiet, loud: four seconds each.
    soundfile.write(path, np.repeat(np.float32([0.5, 0.01, 0.01, 0.5]), 64_000), 16_000)
    parts = []
    for start, raw in answers:
        row = {"session_id": "French_1", "recording": "French_1", "grp": "French", "audio": str(path), "start": start}
        answer = {"raw_text": raw, "tokens": 9, "audio_tokens": 80, "seconds": 0.5, "transcript": "", "think": None}
        parts.append({"row": row | {"end": start + 8.0}, "answer": answer, "said": said_in(raw, 8.0)[0]})
    return _turns(parts, Diarizer(Detector(), Loudness()), LANGUAGES)  # type: ignore[arg-type] # all that is used


def test_speakers_of_stretches_are_linked_by_their_voices(tmp_path: Path) -> None:
    raw = "<LANG_FR> <transcribe> [0.0][S01]un deux[4.0][4.0][S02]trois[8.0] </transcribe>"
    found = turns(tmp_path / "a.wav", (0.0, raw), (8.0, raw))
    assert [(one["speaker"], one["start"], one["end"]) for one, _ in found] == [
        ("S1", 0.0, 4.0),
        ("S2", 4.0, 8.0),
        ("S2", 8.0, 12.0),  # S01 of its stretch, with the voice of S02 before
        ("S1", 12.0, 16.0),
    ]
    assert [one["transcript"] for _, one in found] == ["un deux", "trois", "un deux", "trois"]
    assert sum(one["tokens"] for _, one in found) == 18
    assert len({one["utterance_id"] for one, _ in found}) == 4


@pytest.mark.parametrize("raw", ["", "un deux", "[9.0][S01]un deux[3.0", "[0.0][S07]un[0.1][0.0][S07]deux[0.1]"])
def test_malformed_answers_lose_no_words(tmp_path: Path, raw: str) -> None:
    found = turns(tmp_path / "a.wav", (8.0, raw))
    words = " ".join(one["transcript"] for _, one in found).replace("3.0", "").split()
    assert words == [word for word in ("un", "deux") if word in raw]
    assert all(one["speaker"] == "S1" and 8.0 <= one["start"] < one["end"] <= 16.1 for one, _ in found)


def test_stretches_are_cut_at_pauses() -> None:
    speech = [Segment(0.0, 8.0), Segment(8.0, 12.0), Segment(12.5, 21.0), Segment(30.0, 31.0)]
    assert stretches_between_pauses(speech, 20.0) == [Segment(0.0, 12.0), Segment(12.5, 31.0)]
    assert stretches_between_pauses([], 20.0) == []


LONGEST_S = 2.0
GREEDY = DecodingConfig(max_new_tokens=150, batch_size=1)


@pytest.fixture(scope="module")
def session(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Manifest of one session of tones, six turns of two speakers, and its longest stretches."""
    table = read_manifest(tones)
    table = table.filter(pc.equal(table["grp"], "French")).slice(0, 6)
    path = tmp_path_factory.mktemp("session") / "session.parquet"
    write_manifest(table, path)
    rows = stretches_of(table.to_pylist(), LONGEST_S)
    halves = next(number for number in range(1, len(rows)) if rows[number]["start"] <= rows[number - 1]["start"])
    return path, rows[:halves]


@pytest.fixture(scope="module")
def trained(make_config: Any, train: Any, session: tuple[Path, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stage that has learnt this session by heart."""
    parts = ["projector", "embedding", "head", "lm_lora"]
    stage = {"trains": parts, "template": "diarized", "max_duration_s": LONGEST_S, "steps": 200, "learning_rate": 1e-2}
    config = make_config({"a": stage})
    checkpoint: Path = train(config, "a", tmp_path_factory.mktemp("answers"), manifest=session[0])
    return checkpoint


class Whole:
    """Finds the stretches that it is given."""

    max_segment_s = LONGEST_S

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def __call__(self, waveform: Any) -> list[Segment]:
        return [Segment(row["start"], row["end"]) for row in self.rows]


def answered(checkpoint: Path, session: tuple[Path, list[dict[str, Any]]], folder: Path, languages: Any) -> list[Path]:
    """The stretches, answers, segments and hypotheses of the session, in files."""
    names = ("stretches", "answers", "segments", "hypotheses")
    files = {name: folder / f"{name}.parquet" for name in names}
    diarizer = Diarizer(Whole(session[1]), Loudness())  # type: ignore[arg-type] # all that is used
    found = answer_sessions(session[0], diarizer, LONGEST_S, checkpoint, GREEDY, languages, **files)
    assert found == (["French_0001_001"], [])
    return list(files.values())


def test_a_model_learns_who_says_what_when(
    trained: Path, session: tuple[Path, list[dict[str, Any]]], tmp_path: Path, languages: Any
) -> None:
    manifest, rows = session
    _, answers, segments, hypotheses = answered(trained, session, tmp_path, languages)
    assert len(rows) >= 2
    for row, answer in zip(rows, read_table(answers).to_pylist(), strict=True):
        assert answer["stop_reason"] == "end"
        said, faults = said_in(answer["raw_text"], row["end"] - row["start"])
        assert not faults and [one.text for one in said] == [one.text for one in row[SAID]]
        assert [one.speaker for one in said] == [one.speaker for one in row[SAID]]
    truth, found = read_manifest(manifest).to_pylist(), read_table(segments).to_pylist()
    words = read_table(hypotheses).to_pylist()
    assert len(found) == len(words) == len(truth) == 6
    for turn, said_here, expected in zip(found, words, truth, strict=True):
        assert (turn["start"], turn["end"]) == pytest.approx((expected["start"], expected["end"]), abs=0.051)
        assert said_here["transcript"] == expected["text"]


def test_a_killed_job_resumes_with_the_answers_it_has(
    trained: Path,
    session: tuple[Path, list[dict[str, Any]]],
    tmp_path: Path,
    languages: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoded: list[str] = []
    decode = Decoder.decode

    def counted(self: Decoder, rows: Any) -> Any:
        if len(decoded) == 1 and monkeypatched:
            raise KeyboardInterrupt
        decoded.extend(row["utterance_id"] for row in rows)
        return decode(self, rows)

    monkeypatched = True
    monkeypatch.setattr(Decoder, "decode", counted)
    (tmp_path / "killed").mkdir()
    with pytest.raises(KeyboardInterrupt):
        answered(trained, session, tmp_path / "killed", languages)
    # What is not complete, Snakemake removes.
    (tmp_path / "killed" / "stretches.parquet").unlink()
    monkeypatched = False
    resumed = answered(trained, session, tmp_path / "killed", languages)
    assert sorted(decoded) == sorted(row["utterance_id"] for row in read_table(resumed[0]).to_pylist())
    (tmp_path / "whole").mkdir()
    whole = answered(trained, session, tmp_path / "whole", languages)
    for one, other in zip(resumed, whole, strict=True):
        cost = [name for name in ("seconds",) if name in read_table(one).column_names]
        assert read_table(one).drop_columns(cost) == read_table(other).drop_columns(cost)
