"""The parts of tcpWER's errors: hand-worked cases, and properties that hold in any session."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcslm.config.languages import read_languages
from mlcslm.formats.segments import Utterance
from mlcslm.scoring.tcpwer import score_tcp, time_recording
from mlcslm.scoring.tcpwer_breakdown import ActiveSpeakers, Breakdown, assign_pieces, cut_pieces
from mlcslm.scoring.timed_alignment import timed_distance
from mlcslm.scoring.transcripts import TranscriptErrors, TranscriptTask, score_transcript
from mlcslm.scoring.word_timing import TimedWords, join_by_speaker
from mlcslm.text.protocols import get_protocol

GROUP = read_languages(Path(__file__).parents[2] / "config" / "languages.tsv")["French"]
PROTOCOL = get_protocol("mlcslm-2025")
Spoken = tuple[str, float, float, str]


def score(reference: list[Spoken], hypothesis: list[Spoken]) -> TranscriptErrors:
    sides = [[Utterance("French_1", *spoken) for spoken in side] for side in (reference, hypothesis)]
    return score_transcript(TranscriptTask(*sides, GROUP, PROTOCOL))


REFERENCE = [("O1", 0, 4, "a b c d"), ("O2", 4, 6, "e f"), ("O2", 20, 21, "g")]

CASES = {
    # The example of docs/scoring.md.
    "all at once": (
        REFERENCE,
        [("s1", 0, 4, "a b x d"), ("s1", 4, 6, "e f"), ("s2", 12, 14, "y z")],
        8,
        Breakdown(confusion=4, missed=1, false_alarm=2, recognition=1),
    ),
    "perfect": (REFERENCE, [("x", 20, 21, "g"), ("y", 0, 4, "a b c d"), ("x", 4, 6, "e f")], 0, Breakdown(0, 0, 0, 0)),
    "nothing found": (REFERENCE, [], 7, Breakdown(0, 7, 0, 0)),
    "found, but nothing recognised": (
        REFERENCE,
        [("s1", 0, 4, ""), ("s2", 4, 6, ""), ("s2", 20, 21, "")],
        7,
        Breakdown(0, 0, 0, 7),
    ),
    # Of two who speak at a time one is found, and one of the words.
    "overlap found as one": (
        [("O1", 0, 2, "a b"), ("O2", 0, 2, "e f")],
        [("s1", 0, 2, "a b")],
        2,
        Breakdown(0, 2, 0, 0),
    ),
    # e is inserted at s2 and deleted at s1.
    "half of an utterance given to another": (
        [("O1", 0, 2, "a e")],
        [("s1", 0, 1, "a"), ("s2", 1, 2, "e")],
        2,
        Breakdown(2, 0, 0, 0),
    ),
    "an utterance over two speakers": (
        [("O1", 0, 2, "a b"), ("O2", 2, 4, "e f")],
        [("s1", 0, 4, "a b e f")],
        4,
        Breakdown(4, 0, 0, 0),
    ),
    # With the right speaker x would replace g, one error instead of two.
    "given to another, and wrong": (
        [("O1", 0, 2, "a b"), ("O2", 2, 3, "g")],
        [("s1", 0, 2, "a b"), ("s1", 2, 3, "x")],
        2,
        Breakdown(1, 0, 0, 1),
    ),
    "two found where one speaks": (
        [("O1", 0, 4, "a b c d")],
        [("s1", 0, 4, "a b c d"), ("s2", 1, 3, "b c")],
        2,
        Breakdown(0, 0, 2, 0),
    ),
    # The word that is lost has its middle at 1.5 s, outside of what is found.
    "cut short": ([("O1", 0, 2, "a b")], [("s1", 0, 1.25, "a")], 1, Breakdown(0, 1, 0, 0)),
    "cut less short": ([("O1", 0, 2, "a b")], [("s1", 0, 1.75, "a")], 1, Breakdown(0, 0, 0, 1)),
    "runs on": ([("O1", 0, 2, "a b")], [("s1", 0, 2, "a b b b")], 2, Breakdown(0, 0, 0, 2)),
}


@pytest.mark.parametrize("name", CASES)
def test_hand_worked_cases(name: str):
    reference, hypothesis, errors, expected = CASES[name]
    found = score(reference, hypothesis)
    assert found.tcp.errors == errors
    assert found.breakdown == expected


TIMES = st.integers(0, 40).map(lambda step: step / 2)
SPOKEN = st.tuples(
    st.sampled_from(["s1", "s2", "s3"]),
    TIMES,
    st.integers(0, 12).map(lambda step: step / 2),
    st.lists(st.sampled_from(["a", "b", "c"]), max_size=4).map(" ".join),
).map(lambda spoken: (spoken[0], spoken[1], spoken[1] + spoken[2], spoken[3]))


@settings(max_examples=200, deadline=None)
@given(st.lists(SPOKEN, min_size=1, max_size=8), st.lists(SPOKEN, max_size=8), st.permutations(["s1", "s2", "s3"]))
@pytest.mark.slow
def test_parts_add_up_and_names_do_not_matter(reference: list[Spoken], hypothesis: list[Spoken], names: list[str]):
    found = score(reference, hypothesis)
    parts = found.breakdown
    assert parts.confusion + parts.missed + parts.false_alarm + parts.recognition == found.tcp.errors
    assert min(parts.confusion, parts.missed, parts.false_alarm, parts.recognition) >= 0
    renamed = dict(zip(("s1", "s2", "s3"), names, strict=True))
    again = score(reference, [(renamed[speaker], *spoken) for speaker, *spoken in hypothesis])
    assert (again.tcp.errors, again.breakdown.confusion) == (found.tcp.errors, parts.confusion)


@settings(max_examples=100, deadline=None)
@given(st.lists(SPOKEN, min_size=1, max_size=5), st.lists(SPOKEN, max_size=4))
def test_pieces_are_given_as_best_can_be(reference: list[Spoken], hypothesis: list[Spoken]):
    sides = [[Utterance("French_1", *spoken) for spoken in side] for side in (reference, hypothesis)]
    recording = time_recording(*sides, GROUP, PROTOCOL)
    pieces = cut_pieces(recording.hypothesis, ActiveSpeakers(sides[0]))
    assert [word for piece in pieces for word in piece.words] == [w for u in recording.hypothesis for w in u.words]
    streams = join_by_speaker(recording.reference)
    nobody = TimedWords("", [], [], [])
    fewest = min(
        sum(timed_distance(stream, given.get(name, nobody)) for name, stream in streams.items())
        for names in itertools.product(streams, repeat=len(pieces))
        for given in [join_by_speaker(replace(p, speaker=n) for p, n in zip(pieces, names, strict=True))]
    )
    given = assign_pieces(recording, pieces)
    assert sum(timed_distance(*pair) for pair in given) == fewest <= score_tcp(recording).counts.errors


@settings(max_examples=100, deadline=None)
@given(st.lists(SPOKEN, max_size=8), TIMES)
def test_active_speakers_are_those_with_an_utterance_around(spoken: list[Spoken], time: float):
    utterances = [Utterance("French_1", *values) for values in spoken]
    around = {u.speaker for u in utterances if u.start <= time < u.end}
    assert ActiveSpeakers(utterances).at(time) == around
