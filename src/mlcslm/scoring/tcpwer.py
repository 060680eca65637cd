"""tcpWER and tcpCER of a recording: the fewest errors over all pairings of speakers, words aligned near their times.

von Neumann et al. 2023, "MeetEval"; the counts equal those of `meeteval-wer tcpwer --collar 5`. docs/scoring.md
explains why this is faster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from mlcslm.config.languages import Group
from mlcslm.formats.segments import Utterance
from mlcslm.scoring.error_counts import ErrorCounts, pool
from mlcslm.scoring.timed_alignment import align_words, timed_distance
from mlcslm.scoring.word_timing import COLLAR, TimedWords, Vocabulary, join_by_speaker, time_words
from mlcslm.text.protocols import Protocol

Pairing = tuple[tuple[str | None, str | None], ...]


@dataclass(frozen=True)
class RecordingWords:
    """Words of a recording's utterances: reference words as intervals, hypothesis words as points plus collar."""

    reference: list[TimedWords]
    hypothesis: list[TimedWords]

    @cached_property
    def reference_streams(self) -> dict[str, TimedWords]:
        """Words of each reference speaker."""
        return join_by_speaker(self.reference)

    @cached_property
    def hypothesis_streams(self) -> dict[str, TimedWords]:
        """Words of each hypothesis speaker."""
        return join_by_speaker(self.hypothesis)


@dataclass(frozen=True)
class TcpScore:
    """Counts of the best pairing, and the pairs: (reference speaker, hypothesis speaker), None for nobody."""

    counts: ErrorCounts
    pairing: Pairing


def time_recording(
    reference: Iterable[Utterance], hypothesis: Iterable[Utterance], group: Group, protocol: Protocol
) -> RecordingWords:
    """Words of a recording's raw utterances under a protocol, with their times."""
    vocabulary = Vocabulary()
    return RecordingWords(
        time_words(reference, lambda text: protocol.reference_tokens(text, group), vocabulary, collar=None),
        time_words(hypothesis, lambda text: protocol.hypothesis_tokens(text, group), vocabulary, collar=COLLAR),
    )


def score_tcp(recording: RecordingWords) -> TcpScore:
    """Counts of the speaker pairing with the fewest errors; unpaired speakers count as deletions or insertions."""
    references, hypotheses = recording.reference_streams, recording.hypothesis_streams
    costs = [[timed_distance(r, h) for h in hypotheses.values()] for r in references.values()]
    pairing = pair_speakers(
        costs,
        {speaker: len(stream.words) for speaker, stream in references.items()},
        {speaker: len(stream.words) for speaker, stream in hypotheses.items()},
    )
    nobody = TimedWords("", [], [], [])
    counts = pool(
        align_words(nobody if r is None else references[r], nobody if h is None else hypotheses[h]).counts
        for r, h in pairing
    )
    return TcpScore(counts, pairing)


def pair_speakers(
    costs: Sequence[Sequence[int]], reference_lengths: Mapping[str, int], hypothesis_lengths: Mapping[str, int]
) -> Pairing:
    """Pairing of speakers with the lowest total cost.

    costs: errors of each reference speaker (row) against each hypothesis speaker (column); lengths: words of each, in
    the order of rows and columns, which are the errors if the speaker stays unpaired.
    """
    rows, columns = list(reference_lengths), list(hypothesis_lengths)
    size = max(len(rows), len(columns))
    matrix = [
        [*row, *[length] * (size - len(row))] for row, length in zip(costs, reference_lengths.values(), strict=True)
    ]
    matrix += [list(hypothesis_lengths.values())] * (size - len(rows))
    names = dict(enumerate(rows)), dict(enumerate(columns))
    return tuple((names[0].get(r), names[1].get(c)) for r, c in enumerate(_assign(matrix)))


def _assign(costs: Sequence[Sequence[int]]) -> Sequence[int]:
    """Column of each row with the lowest total cost; ties are broken as in scipy, and thus in meeteval."""
    if len(costs) == 2:
        straight, crossed = costs[0][0] + costs[1][1], costs[0][1] + costs[1][0]
        # Two speakers are the common case, and importing scipy takes as long as scoring five of their recordings.
        if straight != crossed:
            return (0, 1) if straight < crossed else (1, 0)
    elif len(costs) < 2:
        return range(len(costs))
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(costs)[1].tolist()
