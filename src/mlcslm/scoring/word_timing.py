"""Times of the words of an utterance, as meeteval defines them for its time-constrained error rates.

A reference word gets a share of its utterance's time in proportion to its characters (`character_based`); a hypothesis
word gets the middle of that share (`character_based_points`), extended by the collar on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import accumulate, pairwise

from mlcslm.formats.segments import Utterance

COLLAR = 5
"""Tolerance in seconds of a word's time: the challenge's."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class TimedWords:
    """Consecutive words of one speaker, with the same numbering on both sides of a session.

    words: (n,) numbers; times: (n,) start and end of each, seconds, including the collar; middles: (n,) seconds.
    """

    speaker: str
    words: list[int]
    times: list[Interval]
    middles: list[float]

    @cached_property
    def ends_so_far(self) -> list[float]:
        """(n,) latest end among each word and those before it; times need not be sorted."""
        return list(accumulate((end for _, end in self.times), max))

    @cached_property
    def starts_to_come(self) -> list[float]:
        """(n,) earliest start among each word and those after it."""
        return list(accumulate((start for start, _ in reversed(self.times)), min))[::-1]

    @cached_property
    def is_sorted(self) -> bool:
        """Whether no word begins before the one before it."""
        starts = [start for start, _ in self.times]
        return starts == self.starts_to_come


class Vocabulary:
    """Numbers of words in order of appearance, since numbers are faster to compare than words."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def numbers(self, words: Iterable[str]) -> list[int]:
        """Numbers of `words`; equal words have equal numbers."""
        return [self._numbers.setdefault(word, len(self._numbers)) for word in words]


def time_words(
    utterances: Iterable[Utterance],
    tokens: Callable[[str], list[str]],
    vocabulary: Vocabulary,
    *,
    collar: int | None,
) -> list[TimedWords]:
    """Words of each utterance, with utterances in order of start (a stable sort).

    tokens: splits a raw text into words. collar: seconds; None for the intervals of a reference.
    """
    timed = []
    for utterance in sorted(utterances, key=lambda utterance: utterance.start):
        words = tokens(utterance.text)
        intervals = character_intervals(utterance.start, utterance.end, [len(word) for word in words])
        if collar is None:
            times = [(float(start), float(end)) for start, end in intervals]
            middles = [(start + end) / 2 for start, end in times]
        else:
            points = [(start + end) / 2 for start, end in intervals]
            times = [(float(point - collar), float(point + collar)) for point in points]
            middles = [float(point) for point in points]
        timed.append(TimedWords(utterance.speaker, vocabulary.numbers(words), times, middles))
    return timed


def character_intervals(start: float, end: float, lengths: Sequence[int]) -> list[tuple[Decimal, Decimal]]:
    """Each word's share of `start` to `end` (seconds), by the words' `lengths` in characters.

    In decimal arithmetic, as in meeteval's command line on an STM file: whether a word ends before another begins must
    not depend on how 0.1 is rounded.

    >>> [(str(a), str(b)) for a, b in character_intervals(1.0, 2.0, [3, 1])]
    [('1.00', '1.75'), ('1.75', '2.00')]
    """
    first, last = Decimal(repr(float(start))), Decimal(repr(float(end)))
    if len(lengths) == 1:
        return [(first, last)]
    character = (last - first) / sum(lengths) if lengths else Decimal(0)
    bounds = [first + character * before for before in accumulate(lengths, initial=0)]
    return list(pairwise(bounds))


def join_by_speaker(utterances: Iterable[TimedWords]) -> dict[str, TimedWords]:
    """Each speaker's words in one stream; speakers in order of their first utterance, even if that is empty."""
    streams: dict[str, tuple[list[int], list[Interval], list[float]]] = {}
    for utterance in utterances:
        words, times, middles = streams.setdefault(utterance.speaker, ([], [], []))
        words += utterance.words
        times += utterance.times
        middles += utterance.middles
    return {speaker: TimedWords(speaker, *values) for speaker, values in streams.items()}
