"""Who said what as other tools' files: read back by the libraries that they are of, with the same words and times."""

from __future__ import annotations

from pathlib import Path

import meeteval
import pysubs2
import pytest
from praatio import textgrid as praat

from mlcslm.formats.conversation_files import SUFFIXES, conversation
from mlcslm.formats.ctm import read_ctm
from mlcslm.formats.rttm import read_rttm
from mlcslm.formats.segments import Segment, Utterance

SAID = [
    Utterance("call", "S1", 0.5, 2.25, "bonjour à tous"),
    Utterance("call", "S2", 2.25, 3.0, "oui 好的"),
    Utterance("call", "S1", 2.75, 4.125, 'il a dit "non"'),
    Utterance("call", "S2", 3661.5, 3662.0, "merci"),
]
SECONDS = 3700.0


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_subtitles_are_read_back(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"call{SUFFIXES[kind]}"
    path.write_text(conversation(SAID, kind, SECONDS), encoding="utf-8")
    found = [(e.start / 1000, e.end / 1000, e.plaintext) for e in pysubs2.load(str(path))]
    assert found == [(one.start, one.end, f"{one.speaker}: {one.text}") for one in SAID]


@pytest.mark.parametrize("text", ["a {b} c", "a <i>b</i> c", r"a \N b", "a\nb"])
def test_what_players_take_for_markup_stays_visible(text: str) -> None:
    for kind in ("srt", "vtt"):
        (event,) = pysubs2.SSAFile.from_string(conversation([Utterance("a", "S1", 0, 1, text)], kind, 1.0))
        assert len(event.plaintext.split()) == 1 + len(text.split())


def test_textgrids_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "call.TextGrid"
    path.write_text(conversation(SAID, "textgrid", SECONDS), encoding="utf-8")
    found = praat.openTextgrid(str(path), includeEmptyIntervals=False)
    assert (found.tierNames, found.maxTimestamp) == (("S1", "S2"), SECONDS)
    for speaker in found.tierNames:
        entries = [(one.start, one.end, one.label) for one in found.getTier(speaker).entries]
        assert entries == [(one.start, one.end, one.text) for one in SAID if one.speaker == speaker]


def test_a_speakers_own_overlaps_lose_no_word_in_a_textgrid(tmp_path: Path) -> None:
    said = [
        Utterance("a", "S1", 0, 2, "one"),
        Utterance("a", "S1", 1, 3, "two"),
        Utterance("a", "S1", 1.5, 2.5, "three"),
    ]
    path = tmp_path / "a.TextGrid"
    path.write_text(conversation(said, "textgrid", 3.0), encoding="utf-8")
    labels = [one.label for one in praat.openTextgrid(str(path), includeEmptyIntervals=False).getTier("S1").entries]
    assert " ".join(labels).split() == ["one", "two", "three"]


@pytest.mark.parametrize(("kind", "read"), [("stm", meeteval.io.STM.load), ("json", meeteval.io.SegLST.load)])
def test_meeteval_reads_stm_and_seglst_back(kind: str, read, tmp_path: Path) -> None:
    path = tmp_path / f"call{SUFFIXES[kind]}"
    path.write_text(conversation(SAID, kind, SECONDS), encoding="utf-8")
    lines = read(path)
    found = lines.to_seglst() if kind == "stm" else lines
    key = [(one["speaker"], float(one["start_time"]), float(one["end_time"]), one["words"]) for one in found]
    assert key == [(one.speaker, one.start, one.end, one.text) for one in SAID]


def test_rttm_and_ctm_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "call.rttm"
    path.write_text(conversation(SAID, "rttm", SECONDS), encoding="utf-8")
    assert read_rttm(path) == {"call": sorted(Segment(one.start, one.end, one.speaker) for one in SAID)}
    path = tmp_path / "call.ctm"
    path.write_text(conversation(SAID, "ctm", SECONDS), encoding="utf-8")
    words = read_ctm(path).words
    assert [(w.speaker, w.text) for w in words] == [(one.speaker, word) for one in SAID for word in one.text.split()]
    # `bonjour à tous`: 12 characters in 1.75 s.
    assert [w.end for w in words[:3]] == pytest.approx([0.5 + 1.75 * share / 12 for share in (7, 8, 12)], abs=0.002)


@pytest.mark.parametrize("kind", list(SUFFIXES))
def test_turns_without_words_and_nothing_at_all_can_be_written(kind: str) -> None:
    assert "S1" in conversation([Utterance("a", "S1", 0, 1, "")], kind, 2.0) or kind == "ctm"
    conversation([], kind, 2.0)


def test_text_is_for_people() -> None:
    assert conversation(SAID[-1:], "text", SECONDS) == "1:01:01.50 - 1:01:02.00  S2: merci\n"
