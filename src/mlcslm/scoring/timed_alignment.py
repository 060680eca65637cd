"""Time-constrained Levenshtein alignment of two streams of words: meeteval's, cut where that changes nothing."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mlcslm.scoring.error_counts import ErrorCounts
from mlcslm.scoring.word_timing import Interval, TimedWords


@dataclass(frozen=True)
class Alignment:
    """Error counts of an alignment, which reference words are deleted and which hypothesis words are inserted."""

    counts: ErrorCounts
    deleted: list[int]
    inserted: list[int]


def timed_distance(reference: TimedWords, hypothesis: TimedWords) -> int:
    """Fewest insertions, deletions and substitutions, where only words whose times overlap may be aligned."""
    from meeteval.wer.matching.cy_levenshtein import time_constrained_levenshtein_distance

    return sum(
        time_constrained_levenshtein_distance(*piece.sequences, prune=piece.prune)
        for piece in _pieces(reference, hypothesis)
    )


def align_words(reference: TimedWords, hypothesis: TimedWords) -> Alignment:
    """Best alignment, where only words whose times overlap may be aligned; of several, one that counts as meeteval's.

    Insertions, deletions and substitutions are as many as meeteval has.
    """
    from meeteval.wer.matching.cy_levenshtein import time_constrained_levenshtein_distance_with_alignment

    counts = ErrorCounts.zero()
    deleted: list[int] = []
    inserted: list[int] = []
    for piece in _pieces(reference, hypothesis):
        found = time_constrained_levenshtein_distance_with_alignment(*piece.sequences, prune=piece.prune)
        kinds = (found[kind] for kind in ("insertions", "deletions", "substitutions"))
        counts += ErrorCounts(found["total"], len(piece.sequences[0]), *kinds)
        deleted += [piece.first[0] + pair[0] for pair in found["alignment"] if pair[1] is None]
        inserted += [piece.first[1] + pair[1] for pair in found["alignment"] if pair[0] is None]
    return Alignment(counts, deleted, inserted)


def cut_points(reference: TimedWords, hypothesis: TimedWords) -> list[tuple[int, int]]:
    """Places (r, h), from (0, 0) to the ends, between which the streams can be aligned by themselves.

    At (r, h) no reference word before r overlaps a hypothesis word from h on, and none from r on one before h. An
    alignment never crosses such a place, so distances add up: docs/scoring.md has the proof, for the counts too.
    """
    ends = len(reference.words), len(hypothesis.words)
    if not all(ends):
        return [(0, 0), ends]
    reference_ends, reference_starts = reference.ends_so_far, reference.starts_to_come
    hypothesis_ends, hypothesis_starts = hypothesis.ends_so_far, hypothesis.starts_to_come
    cuts, h = [(0, 0)], 0
    for r in range(1, ends[0]):
        # Only the first h that clears the words before r can also be cleared by those from r on.
        h = bisect_left(hypothesis_starts, reference_ends[r - 1], lo=h)
        if h == 0 or hypothesis_ends[h - 1] <= reference_starts[r]:
            # Where nothing of the hypothesis lies between two cuts, one of them is enough.
            if len(cuts) > 1 and cuts[-1][1] == h:
                cuts.pop()
            cuts.append((r, h))
    return [*cuts, ends]


@dataclass(frozen=True)
class _Piece:
    """Words between two cuts.

    first: places of its first words; sequences: words of reference and hypothesis, times of both; prune: whether
    meeteval may rely on their order in time. It is not left to find out, as it takes times for unsorted that begin
    below zero, as those of the first words do, and then compares every word with every other.
    """

    first: tuple[int, int]
    sequences: tuple[list[int], list[int], list[Interval], list[Interval]]
    prune: bool


def _pieces(reference: TimedWords, hypothesis: TimedWords) -> Iterator[_Piece]:
    prune = reference.is_sorted and hypothesis.is_sorted
    for (r, h), (r_end, h_end) in pairwise(cut_points(reference, hypothesis)):
        times = reference.times[r:r_end], hypothesis.times[h:h_end]
        words = reference.words[r:r_end], hypothesis.words[h:h_end]
        yield _Piece((r, h), (*words, *times), prune or all(map(_sorted, times)))


def _sorted(times: Sequence[Interval]) -> bool:
    return all(first[0] <= second[0] for first, second in pairwise(times))
