"""Stretches of conversation as training examples, by hand and as a property."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mlcslm.text.diarized import Said, diarized_text
from mlcslm.training.stretches import SAID, stretches_of


def row(number: int, start: float, end: float, speaker: str, text: str | None = "Yes, sir!") -> dict[str, Any]:
    return {
        "utterance_id": f"u{number}",
        "session_id": "s",
        "turn": number,
        "start": start,
        "end": end,
        "speaker": speaker,
        "text": text,
    }


def test_a_stretch_says_who_speaks_when() -> None:
    rows = [row(0, 10.0, 11.0, "B"), row(1, 11.2, 13.0, "A"), row(2, 12.5, 14.0, "B"), row(3, 17.0, 19.5, "A")]
    long, *short = stretches_of(rows, 10.0)
    assert (long["utterance_id"], long["start"], long["end"]) == ("u0~3", 10.0, 19.5)
    assert long["text"] == "yes sir yes sir yes sir yes sir"
    assert [(one.speaker, one.start) for one in long[SAID]] == [(1, 10.0), (2, 11.2), (1, 12.5), (2, 17.0)]
    assert diarized_text(long[SAID][:2], 9.9) == "[0.1][S01]yes sir[1.1][1.3][S02]yes sir[3.1]"
    # Halves: what overlaps stays together, and a stretch has its own numbers of speakers.
    assert [one["utterance_id"] for one in short] == ["u0~2", "u3~0"]
    assert short[1][SAID] == [Said(17.0, 19.5, 1, "yes sir")]


def test_stretches_without_text_or_too_long_are_left_out() -> None:
    rows = [row(0, 0.0, 1.0, "A", None), row(1, 20.0, 32.0, "B"), row(2, 40.0, 41.0, "A")]
    assert [one["utterance_id"] for one in stretches_of(rows, 10.0)] == ["u2~0"]
    assert stretches_of([], 10.0) == []


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 60)), max_size=12), st.integers(20, 200))
def test_stretches_hold_whole_utterances_and_nobody_speaks_at_their_ends(
    times: list[tuple[int, int]], longest: int
) -> None:
    rows, start = [], 0
    for number, (gap, length) in enumerate(times):
        start += gap
        rows.append(row(number, start / 10, (start + length) / 10, "AB"[number % 2]))
    for stretch in stretches_of(rows, longest / 10):
        assert stretch["end"] - stretch["start"] <= longest / 10 + 1e-9
        inside = [one for one in rows if stretch["start"] < one["end"] and one["start"] < stretch["end"]]
        assert [(one["start"], one["end"]) for one in inside] == [(one.start, one.end) for one in stretch[SAID]]
