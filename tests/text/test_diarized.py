"""Answers with speakers and times: written, read back, and read as far as possible where they are malformed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcslm.config.languages import Group
from mlcslm.text.diarized import SHORTEST_S, Said, diarized_text, parse_diarized
from mlcslm.text.templates import parse_answer, said_in, target_text

FRENCH = Group("French", "French", "fr", "<LANG_FR>", "word", "Transcrivez")
words = st.text(st.characters(exclude_characters="<>|[]", exclude_categories=["Cs", "Cc"]), max_size=12).map(
    lambda text: " ".join(text.split()) or "x"
)


@st.composite
def conversations(draw: st.DrawFn) -> list[Said]:
    """Turns in order of their starts, in tenths of a second, which may overlap."""
    found, start = [], 0
    for number in range(draw(st.integers(0, 6))):
        start += draw(st.integers(0, 30))
        end = start + draw(st.integers(1, 40))
        found.append(Said(start / 10, end / 10, draw(st.integers(1, min(number + 1, 12))), draw(words)))
    return found


@given(conversations())
def test_what_is_written_is_read_back(said: list[Said]) -> None:
    raw = target_text(FRENCH, "diarized", diarized_text(said))
    assert said_in(raw + "<|im_end|>", 30.0) == (said, 0)
    answer = parse_answer(raw + "<|im_end|>", "diarized")
    assert answer.well_formed and answer.language == "<LANG_FR>"
    assert answer.transcript.split() == " ".join(one.text for one in said).split()


def test_times_are_of_the_stretch() -> None:
    assert diarized_text([Said(100.0, 101.06, 1, "a"), Said(101.0, 102.0, 2, "b")], 99.9) == (
        "[0.1][S01]a[1.2][1.1][S02]b[2.1]"
    )


@pytest.mark.parametrize(
    ("text", "expected", "faults"),
    [
        ("", [], 0),
        ("[0.0][S01]a[1.0", [Said(0.0, 9.0, 1, "a 1.0")], 2),  # truncated in a time
        ("[0.0][S01]a", [Said(0.0, 9.0, 1, "a")], 1),
        ("[0.5]a[1.0]", [Said(0.5, 1.0, 1, "a")], 1),
        ("[0.0][S02]a[1.0]b[2.0]", [Said(0.0, 1.0, 2, "a"), Said(1.0, 2.0, 2, "b")], 2),  # neither start nor speaker
        ("[5.0][S01]a[4.0]", [Said(5.0, 5.1, 1, "a")], 1),
        ("[8.0][S01]a[12.0]", [Said(8.0, 9.0, 1, "a")], 0),  # beyond the stretch by rounding, or by more: clipped
        ("[12.0][S01]a[13.0]", [Said(0.0, 9.0, 1, "a")], 2),
        ("[0.0][S01][1.0]", [], 3),
        ("[[]", [], 1),
    ],
)
def test_malformed_answers_are_read_as_far_as_possible(text: str, expected: list[Said], faults: int) -> None:
    assert parse_diarized(text, 9.0) == (expected, faults)


@given(st.text(st.sampled_from("[]S0123.ab "), max_size=40), st.sampled_from([0.5, 3.0, 30.0]))
def test_no_words_are_lost_and_times_are_possible(text: str, longest_s: float) -> None:
    said, faults = parse_diarized(text, longest_s)
    for one in said:
        assert 0 <= one.start < one.end <= longest_s + SHORTEST_S
        assert one.text
    kept = sum(letter in "ab" for one in said for letter in one.text)
    assert kept == sum(letter in "ab" for letter in text)
    assert faults or text == diarized_text(said) or all(mark not in "[]" for mark in text) or said
