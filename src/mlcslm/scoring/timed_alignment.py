"""Time-constrained Levenshtein alignment of two streams of words: meeteval's, in pieces where that is exact."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mlcslm.scoring.error_counts import ErrorCounts
from mlcslm.scoring.word_timing import Interval, TimedWords


@dataclass(frozen=True)
class Alignment:
    """Error counts of an alignment, and the indices of deleted reference words and inserted hypothesis words."""

    counts: ErrorCounts
    deleted: list[int]
    inserted: list[int]


def timed_distance(reference: TimedWords, hypothesis: TimedWords) -> int:
    """Fewest insertions, deletions and substitutions if only words whose times overlap may be aligned."""
    from meeteval.wer.matching.cy_levenshtein import time_constrained_levenshtein_distance

    return sum(
        time_constrained_levenshtein_distance(*piece.sequences, prune=piece.prune)
        for piece in _pieces(reference, hypothesis)
    )


def align_words(reference: TimedWords, hypothesis: TimedWords) -> Alignment:
    """Best alignment if only words whose times overlap may be aligned.

    Of several, one with as many insertions, deletions and substitutions as meeteval's.
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
    """Cuts (r, h), from (0, 0) to the ends, between which the streams can be aligned independently.

    At (r, h), no reference word before r overlaps a hypothesis word from h on, and none from r on overlaps one before
    h. An alignment never crosses such a cut, so distances add up: docs/scoring.md has the proof, also for the counts.
    """
    ends = len(reference.words), len(hypothesis.words)
    if not all(ends):
        return [(0, 0), ends]
    reference_ends, reference_starts = reference.ends_so_far, reference.starts_to_come
    hypothesis_ends, hypothesis_starts = hypothesis.ends_so_far, hypothesis.starts_to_come
    cuts, h = [(0, 0)], 0
    for r in range(1, ends[0]):
        # Only the first h beyond all words before r can also be free of the words from r on.
        h = bisect_left(hypothesis_starts, reference_ends[r - 1], lo=h)
        if h == 0 or hypothesis_ends[h - 1] <= reference_starts[r]:
            # Two cuts with no hypothesis word between them are as good as one.
            if len(cuts) > 1 and cuts[-1][1] == h:
                cuts.pop()
            cuts.append((r, h))
    return [*cuts, ends]


@dataclass(frozen=True)
class _Piece:
    """Words between two cuts.

    first: indices of its first words; sequences: words of reference and hypothesis, times of both; prune: whether
    meeteval may rely on their order in time. Left to detect it, meeteval considers times unsorted that begin below
    zero, as those of the first words do, and compares every word with every other.
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
