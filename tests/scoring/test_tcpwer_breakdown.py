"""The parts of tcpWER's errors: hand-worked cases, and properties that hold in any session."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import astuple, replace
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
        Breakdown(timing=0, confusion=4, missed=1, false_alarm=2, recognition=1),
    ),
    "perfect": (
        REFERENCE,
        [("x", 20, 21, "g"), ("y", 0, 4, "a b c d"), ("x", 4, 6, "e f")],
        0,
        Breakdown(0, 0, 0, 0, 0),
    ),
    "nothing found": (REFERENCE, [], 7, Breakdown(0, 0, 7, 0, 0)),
    "found, but nothing recognised": (
        REFERENCE,
        [("s1", 0, 4, ""), ("s2", 4, 6, ""), ("s2", 20, 21, "")],
        7,
        Breakdown(0, 0, 0, 0, 7),
    ),
    # Of two who speak at a time one is found, and one of the words.
    "overlap found as one": (
        [("O1", 0, 2, "a b"), ("O2", 0, 2, "e f")],
        [("s1", 0, 2, "a b")],
        2,
        Breakdown(0, 0, 2, 0, 0),
    ),
    # e is inserted at s2 and deleted at s1.
    "half of an utterance given to another": (
        [("O1", 0, 2, "a e")],
        [("s1", 0, 1, "a"), ("s2", 1, 2, "e")],
        2,
        Breakdown(0, 2, 0, 0, 0),
    ),
    "an utterance over two speakers": (
        [("O1", 0, 2, "a b"), ("O2", 2, 4, "e f")],
        [("s1", 0, 4, "a b e f")],
        4,
        Breakdown(0, 4, 0, 0, 0),
    ),
    # With the right speaker x would replace g, one error instead of two.
    "given to another, and wrong": (
        [("O1", 0, 2, "a b"), ("O2", 2, 3, "g")],
        [("s1", 0, 2, "a b"), ("s1", 2, 3, "x")],
        2,
        Breakdown(0, 1, 0, 0, 1),
    ),
    "two found where one speaks": (
        [("O1", 0, 4, "a b c d")],
        [("s1", 0, 4, "a b c d"), ("s2", 1, 3, "b c")],
        2,
        Breakdown(0, 0, 0, 2, 0),
    ),
    # The word that is lost has its middle at 1.5 s, outside of what is found.
    "cut short": ([("O1", 0, 2, "a b")], [("s1", 0, 1.25, "a")], 1, Breakdown(0, 0, 1, 0, 0)),
    "cut less short": ([("O1", 0, 2, "a b")], [("s1", 0, 1.75, "a")], 1, Breakdown(0, 0, 0, 0, 1)),
    "runs on": ([("O1", 0, 2, "a b")], [("s1", 0, 2, "a b b b")], 2, Breakdown(0, 0, 0, 0, 2)),
}


@pytest.mark.parametrize("name", CASES)
def test_hand_worked_cases(name: str):
    reference, hypothesis, errors, expected = CASES[name]
    found = score(reference, hypothesis)
    assert found.tcp.errors == errors
    assert found.breakdown == expected


# --- errors of one kind injected into a session: (share of words that are wrong, the part that they must be)


def session() -> list[Spoken]:
    """Forty turns of two speakers by turns, 3 to 8 words each from a vocabulary of 300, 0.35 s a word, 0.1 s apart."""
    rng = random.Random(5)
    turns: list[Spoken] = []
    time = 1.0
    for number in range(40):
        words = [f"w{rng.randrange(300)}" for _ in range(rng.randint(3, 8))]
        turns.append((f"O{number % 2 + 1}", time, time + 0.35 * len(words), " ".join(words)))
        time = turns[-1][2] + 0.1
    return turns


def said(turn: Spoken, words: list[str], speaker: str | None = None) -> Spoken:
    return (speaker or turn[0], turn[1], turn[2], " ".join(words))


def moved_words(count: int, forwards: bool) -> list[Spoken]:
    """The last `count` words of each turn given to the next speaker, or the first ones to the one before."""
    turns = session()
    words = [turn[3].split() for turn in turns]
    if forwards:
        moved = [(words[i - 1][-count:] if i else []) + w[: len(w) - count] for i, w in enumerate(words)]
    else:
        moved = [w[count:] + (words[i + 1][:count] if i + 1 < len(words) else []) for i, w in enumerate(words)]
    return [said(turn, w) for turn, w in zip(turns, moved, strict=True)]


def shifted(seconds: float) -> list[Spoken]:
    return [(speaker, start + seconds, end + seconds, text) for speaker, start, end, text in session()]


def wrong_words() -> list[Spoken]:
    rng = random.Random(6)
    return [said(t, ["x" if rng.random() < 0.2 else word for word in t[3].split()]) for t in session()]


def given_to(speaker: Callable[[int, str], str]) -> list[Spoken]:
    return [(speaker(number, turn[0]), *turn[1:]) for number, turn in enumerate(session())]


INJECTED: dict[str, tuple[list[Spoken], str]] = {
    "last word to the next speaker": (moved_words(1, True), "confusion"),
    "last two words to the next speaker": (moved_words(2, True), "confusion"),
    "first word to the previous speaker": (moved_words(1, False), "confusion"),
    "first two words to the previous speaker": (moved_words(2, False), "confusion"),
    "times 8 s late": (shifted(8), "timing"),
    "times 8 s early": (shifted(-8), "timing"),
    "wrong words": (wrong_words(), "recognition"),
    "merged speakers": (given_to(lambda number, name: "O1"), "confusion"),
    "split speakers": (given_to(lambda number, name: "O3" if name == "O1" and number >= 20 else name), "confusion"),
    "turns given to the other": (given_to(lambda number, name: "O1" if number % 8 == 3 else name), "confusion"),
    "missed speech": ([turn for number, turn in enumerate(session()) if number % 6], "missed"),
    "words lost": ([said(turn, turn[3].split()[:1] + turn[3].split()[2:]) for turn in session()], "recognition"),
    "false alarm": ([*session(), *[("O1", 300 + 5 * i, 302 + 5 * i, "y z y") for i in range(8)]], "false_alarm"),
    "found twice": ([*session(), *[("O3", *turn[1:]) for turn in session()[::4]]], "false_alarm"),
    "words invented": ([said(turn, [*turn[3].split(), "y"]) for turn in session()], "recognition"),
}


@pytest.mark.parametrize("kind", INJECTED)
def test_an_injected_error_is_what_it_is_called(kind: str):
    """Of a session with errors of one kind at least 95 % are in its part, and the parts add up."""
    hypothesis, part = INJECTED[kind]
    found = score(session(), hypothesis)
    assert found.tcp.errors > 15
    assert sum(astuple(found.breakdown)) == found.tcp.errors
    assert getattr(found.breakdown, part) >= 0.95 * found.tcp.errors, found.breakdown


def test_times_that_are_wrong_do_not_hide_other_errors():
    """8 s late, and every last word with the next speaker, and every sixth turn missed."""
    late = [(speaker, start + 8, end + 8, text) for speaker, start, end, text in moved_words(1, True)]
    alone = score(session(), moved_words(1, True))
    found = score(session(), late)
    assert found.breakdown.timing == found.tcp.errors - found.cp
    assert found.breakdown.confusion == pytest.approx(alone.breakdown.confusion, abs=4)
    kept = [turn for number, turn in enumerate(shifted(8)) if number % 6]
    found = score(session(), kept)
    lost = sum(len(turn[3].split()) for number, turn in enumerate(session()) if number % 6 == 0)
    assert found.breakdown.missed >= 0.7 * lost


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
    assert sum(astuple(parts)) == found.tcp.errors
    assert min(astuple(parts)) >= 0
    assert parts.timing <= found.tcp.errors - found.cp
    renamed = dict(zip(("s1", "s2", "s3"), names, strict=True))
    again = score(reference, [(renamed[speaker], *spoken) for speaker, *spoken in hypothesis])
    assert (again.tcp.errors, again.breakdown.timing) == (found.tcp.errors, parts.timing)
    if not parts.timing:
        assert again.breakdown.confusion == parts.confusion


@settings(max_examples=60, deadline=None)
@given(st.lists(SPOKEN.filter(lambda spoken: spoken[0] != "s3"), min_size=1, max_size=5), st.lists(SPOKEN, max_size=3))
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
