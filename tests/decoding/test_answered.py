"""Sessions answered by a model: from what it says of each stretch to a session's turns and words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from mlcslm.config.languages import Group
from mlcslm.decoding.answered import _turns, stretches_between_pauses
from mlcslm.diarization.pipeline import Diarizer
from mlcslm.formats.segments import Segment
from mlcslm.text.templates import said_in

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
