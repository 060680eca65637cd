"""sclite's files: alignments with counts that add up, and transcripts."""

from __future__ import annotations

from pathlib import Path

import jiwer
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcslm.formats.sclite import alignment_lines, write_alignments, write_trn
from mlcslm.text.alignment import pair_units

WORDS = st.lists(st.sampled_from(["a", "bb", "ccc", "ça", "ไม่"]), max_size=8)


def parse(lines: list[str]) -> tuple[list[int], list[str], list[str], str]:
    """Counts, and the tokens and errors of an utterance: as a reader of sclite's output takes them."""
    counts = [int(number) for number in lines[0].removeprefix("Scores: (#C #S #D #I) ").split()]
    reference, hypothesis = (line[5:].split() for line in lines[1:3])
    return counts, reference, hypothesis, "".join(lines[3][5:].split())


@settings(deadline=None)
@given(WORDS, WORDS)
def test_lines_hold_the_utterance_and_jiwers_number_of_errors(reference: list[str], hypothesis: list[str]) -> None:
    counts, first, second, errors = parse(alignment_lines(pair_units(reference, hypothesis)))
    assert [word.lower() for word in first if set(word) != {"*"}] == reference
    assert [word.lower() for word in second if set(word) != {"*"}] == hypothesis
    assert counts[1:] == [errors.count(kind) for kind in "SDI"]
    assert counts[0] + counts[1] + counts[2] == len(reference)
    if reference:
        found = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
        assert sum(counts[1:]) == found.substitutions + found.deletions + found.insertions


def test_errors_stand_below_their_words() -> None:
    _, reference, hypothesis, errors = alignment_lines([("the", "the"), ("tea", "coffee"), ("", "is"), ("hot", "")])
    for word, kind in (("TEA", "S"), ("**", "I"), ("HOT", "D")):
        assert reference.index(f" {word}") + 1 == errors.index(kind)
    assert hypothesis.split() == ["HYP:", "the", "COFFEE", "IS", "***"]


def test_files(tmp_path: Path) -> None:
    write_trn(tmp_path / "a.trn", {"a-O1-1": ["good", "day"], "a-O2-2": []})
    assert (tmp_path / "a.trn").read_text() == "good day (a-O1-1)\n(a-O2-2)\n"
    spoken = [("a-O2", "a-O2-2", []), ("a-O1", "a-O1-1", [("good", "good"), ("day", "")])]
    write_alignments(tmp_path / "a.prf", "mine", spoken)
    text = (tmp_path / "a.prf").read_text()
    assert "System name:   mine" in text
    assert text.index("Speaker sentences   0:  a-O1   #utts: 1") < text.index("Speaker sentences   1:  a-O2")
    assert "id: (a-O1-1)\nScores: (#C #S #D #I) 1 0 1 0\nREF:  good DAY \nHYP:  good *** \n" in text
