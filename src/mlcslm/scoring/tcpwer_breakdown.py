"""Where the errors of tcpWER come from: wrong times, wrong speakers, missed speech, false alarms, and recognition."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import numpy as np

from mlcslm.formats.segments import Utterance
from mlcslm.scoring.speaker_wer import CpScore
from mlcslm.scoring.tcpwer import RecordingWords, TcpScore, score_tcp
from mlcslm.scoring.timed_alignment import align_words
from mlcslm.scoring.word_timing import COLLAR, TimedWords, join_by_speaker

NEAR_WORDS, NEAR_S = 2, 1.0
"""How near a change of speakers an utterance may be cut: a word or two, or as many as a second has."""


@dataclass(frozen=True)
class Breakdown:
    """The errors of tcpWER in five non-negative parts that add up to them.

    timing: errors that disappear when words that are right but out of time are moved to their time (`correct_times`),
    at most those of tcpWER that cpWER does not have. confusion: of the remaining errors, those that disappear when each
    piece of the hypothesis (`cut_pieces`) is assigned to the best-fitting speaker. Of what remains then, missed:
    reference words deleted where the hypothesis has fewer active speakers than the reference; false_alarm: hypothesis
    words inserted where it has more; recognition: all others.
    """

    timing: int
    confusion: int
    missed: int
    false_alarm: int
    recognition: int

    @classmethod
    def zero(cls) -> Breakdown:
        """Parts of nothing: the start of a sum."""
        return cls(0, 0, 0, 0, 0)

    def __add__(self, other: Breakdown) -> Breakdown:
        if not isinstance(other, Breakdown):
            return NotImplemented
        return Breakdown(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


class ActiveSpeakers:
    """Who speaks at a given time, according to utterances."""

    def __init__(self, utterances: Iterable[Utterance]) -> None:
        changes: dict[float, list[tuple[str, int]]] = {}
        for utterance in utterances:
            changes.setdefault(utterance.start, []).append((utterance.speaker, 1))
            changes.setdefault(utterance.end, []).append((utterance.speaker, -1))
        self._times = sorted(changes)
        self._speakers: list[frozenset[str]] = [frozenset()]
        open_utterances: dict[str, int] = {}
        for time in self._times:
            for speaker, change in changes[time]:
                open_utterances[speaker] = open_utterances.get(speaker, 0) + change
            self._speakers.append(frozenset(speaker for speaker, count in open_utterances.items() if count))

    def at(self, time: float) -> frozenset[str]:
        """Speakers with an utterance at `time` (seconds); ends are exclusive.

        >>> spoken = [Utterance("a", "O1", 0.0, 2.0, ""), Utterance("a", "O2", 1.0, 2.0, "")]
        >>> [sorted(ActiveSpeakers(spoken).at(time)) for time in (0.5, 1.0, 2.0)]
        [['O1'], ['O1', 'O2'], []]
        """
        return self._speakers[bisect_right(self._times, time)]

    def changes(self) -> list[tuple[float, float]]:
        """When the active speakers change to others: the ends of the ones, and the starts of the next (seconds).

        >>> spoken = [Utterance("a", "O1", 0.0, 2.0, ""), Utterance("a", "O1", 3.0, 4.0, "")]
        >>> ActiveSpeakers([*spoken, Utterance("a", "O2", 5.0, 6.0, "")]).changes()
        [(4.0, 5.0)]
        """
        found: list[tuple[float, float]] = []
        before: frozenset[str] | None = None
        ended: float | None = None
        for time, speakers in zip(self._times, self._speakers[1:], strict=True):
            if speakers and before is not None and speakers != before:
                found.append((time if ended is None else ended, time))
            if speakers:
                before, ended = speakers, None
            elif ended is None:
                ended = time
        return found


def break_down(
    recording: RecordingWords,
    tcp: TcpScore,
    cp: CpScore,
    reference: Iterable[Utterance],
    hypothesis: Iterable[Utterance],
) -> Breakdown:
    """Parts of a recording's errors. A word is located at its middle; reference, hypothesis: for the utterances' times.

    Time and memory grow with the product of what the reference speakers say near a piece: intended for two of them.
    """
    timing, timed_errors = 0, tcp.counts.errors
    if timed_errors > cp.errors:
        in_time, moved = correct_times(recording, cp, sorted(hypothesis, key=lambda utterance: utterance.start))
        errors_in_time = score_tcp(in_time).counts.errors
        if errors_in_time < timed_errors:
            recording, hypothesis = in_time, moved
            timing, timed_errors = timed_errors - errors_in_time, errors_in_time
    speaking, found = ActiveSpeakers(reference), ActiveSpeakers(hypothesis)
    missed = false_alarm = errors = 0
    for reference_words, hypothesis_words in assign_pieces(recording, cut_pieces(recording.hypothesis, speaking)):
        alignment = align_words(reference_words, hypothesis_words)
        deleted = (reference_words.middles[index] for index in alignment.deleted)
        inserted = (hypothesis_words.middles[index] for index in alignment.inserted)
        missed += sum(len(found.at(time)) < len(speaking.at(time)) for time in deleted)
        false_alarm += sum(len(found.at(time)) > len(speaking.at(time)) for time in inserted)
        errors += alignment.counts.errors
    return Breakdown(timing, timed_errors - errors, missed, false_alarm, errors - missed - false_alarm)


def correct_times(
    recording: RecordingWords, cp: CpScore, hypothesis: Sequence[Utterance]
) -> tuple[RecordingWords, list[Utterance]]:
    """The recording and its `hypothesis` (in order of start), with words that are right but out of time moved in time.

    A word that cpWER aligns with the same word of the reference, at a time that tcpWER does not allow, moves to the
    reference word's. Words that are not right move as their neighbours do, and utterances as their words on average.
    """
    moves: dict[str, list[float]] = {}
    references, streams = recording.reference_streams, recording.hypothesis_streams
    for r, h in cp.pairing:
        if h is not None:
            moves[h] = _moves(references[r], streams[h]) if r is not None else [0.0] * len(streams[h].words)
    words, utterances = [], []
    at = dict.fromkeys(moves, 0)
    latest: dict[str, float] = {}
    for timed, utterance in zip(recording.hypothesis, hypothesis, strict=True):
        first = at[timed.speaker]
        at[timed.speaker] = first + len(timed.words)
        own = moves[timed.speaker][first : at[timed.speaker]]
        if any(own):
            middles = [middle + move for middle, move in zip(timed.middles, own, strict=True)]
            timed = replace(timed, middles=middles, times=[(middle - COLLAR, middle + COLLAR) for middle in middles])
            move = sum(own) / len(own)
            utterance = replace(utterance, start=utterance.start + move, end=utterance.end + move)
        # Never before an earlier utterance of the speaker, whose words come first.
        latest[timed.speaker] = max(latest.get(timed.speaker, utterance.start), utterance.start)
        words.append((latest[timed.speaker], timed))
        utterances.append(utterance)
    words.sort(key=lambda timed: timed[0])
    return RecordingWords(recording.reference, [timed for _, timed in words]), utterances


def _moves(reference: TimedWords, hypothesis: TimedWords) -> list[float]:
    """Seconds by which each hypothesis word has to move for cpWER's right words to be at an allowed time."""
    from rapidfuzz.distance import Levenshtein

    known: list[tuple[int, float]] = []
    for block in Levenshtein.opcodes(reference.words, hypothesis.words):
        if block.tag != "equal":
            continue
        for r, h in zip(range(block.src_start, block.src_end), range(block.dest_start, block.dest_end), strict=True):
            (start, end), (first, last) = reference.times[r], hypothesis.times[h]
            allowed = start < last and first < end
            known.append((h, 0.0 if allowed else reference.middles[r] - hypothesis.middles[h]))
    if not known:
        return [0.0] * len(hypothesis.words)
    indices, moves = zip(*known, strict=True)
    return np.interp(np.arange(len(hypothesis.words)), indices, moves).tolist()


def cut_pieces(utterances: Iterable[TimedWords], speaking: ActiveSpeakers) -> list[TimedWords]:
    """`utterances` of the hypothesis, cut between words where the active speakers of the reference change.

    An utterance that spans a change of speakers can thus be assigned to both. Within `NEAR_WORDS` or `NEAR_S` of a
    change each word is a piece, also where an utterance begins or ends there: a turn that ends a word too early or too
    late gives that word to the wrong speaker. Nothing is cut where nobody speaks, away from a change.
    """
    changes = speaking.changes()
    pieces = []
    for utterance in utterances:
        cuts = sorted(_cuts(utterance.middles, changes)) if utterance.words else []
        for first, last in pairwise([0, *cuts, len(utterance.words)]):
            words, times, middles = (
                utterance.words[first:last],
                utterance.times[first:last],
                utterance.middles[first:last],
            )
            pieces.append(TimedWords(utterance.speaker, words, times, middles))
    return pieces


def _cuts(middles: Sequence[float], changes: Sequence[tuple[float, float]]) -> set[int]:
    """Words before which to cut an utterance; changes: end of one speaker and start of the next, seconds, in order."""
    cuts: set[int] = set()
    bounds = min(middles) - NEAR_S, max(middles) + NEAR_S
    first = bisect_left(changes, bounds[0], key=lambda change: change[1])
    for end, start in changes[first:]:
        if end > bounds[1]:
            break
        at = sum(middle < start for middle in middles)
        cuts.update(range(at - NEAR_WORDS, at + NEAR_WORDS + 1))
        for index, middle in enumerate(middles):
            if min(abs(middle - end), abs(middle - start)) <= NEAR_S:
                cuts.update((index, index + 1))
    return {cut for cut in cuts if 0 < cut < len(middles)}


def assign_pieces(recording: RecordingWords, pieces: Sequence[TimedWords]) -> list[tuple[TimedWords, TimedWords]]:
    """Each reference speaker's words with the words of the pieces assigned to them, with the fewest errors overall.

    Solved like tcORC-WER with the two sides swapped: meeteval's DI-cpWER under the time constraint, with pieces instead
    of utterances, and exact. Never more errors than tcpWER, which assigns all pieces of a hypothesis speaker to one
    reference speaker.
    """
    from meeteval.wer.matching.cy_time_constrained_orc_matching import time_constrained_orc_levenshtein_distance

    references = recording.reference_streams
    spoken = [name for name, stream in references.items() if stream.words]
    pieces = [piece for piece in pieces if piece.words]
    chosen = [0] * len(pieces)
    if len(spoken) > 1:
        _, chosen = time_constrained_orc_levenshtein_distance(
            [piece.words for piece in pieces],
            [references[name].words for name in spoken],
            [piece.times for piece in pieces],
            [references[name].times for name in spoken],
        )
    names = spoken or [""]
    given = join_by_speaker(replace(piece, speaker=names[number]) for piece, number in zip(pieces, chosen, strict=True))
    nobody = TimedWords("", [], [], [])
    return [(references.get(name, nobody), given.get(name, nobody)) for name in names]
