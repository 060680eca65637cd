"""Where the errors of tcpWER come from: wrong speakers, missed speech, false alarms, and recognition."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

from mlcslm.formats.segments import Utterance
from mlcslm.scoring.tcpwer import RecordingWords, TcpScore
from mlcslm.scoring.timed_alignment import align_words
from mlcslm.scoring.word_timing import TimedWords, join_by_speaker


@dataclass(frozen=True)
class Breakdown:
    """The errors of tcpWER in four non-negative parts that add up to them.

    confusion: errors that disappear when each piece of the hypothesis (`cut_pieces`) is assigned to the best-fitting
    speaker. Of the remaining errors, missed: reference words deleted where the hypothesis has fewer active speakers
    than the reference; false_alarm: hypothesis words inserted where it has more; recognition: all others.
    """

    confusion: int
    missed: int
    false_alarm: int
    recognition: int

    @classmethod
    def zero(cls) -> Breakdown:
        """Parts of nothing: the start of a sum."""
        return cls(0, 0, 0, 0)

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


def break_down(
    recording: RecordingWords, tcp: TcpScore, reference: Iterable[Utterance], hypothesis: Iterable[Utterance]
) -> Breakdown:
    """Parts of a recording's errors. A word is located at its middle; reference, hypothesis: for the utterances' times.

    Time and memory grow with the product of what the reference speakers say near a piece: intended for two of them.
    """
    speaking, found = ActiveSpeakers(reference), ActiveSpeakers(hypothesis)
    missed = false_alarm = errors = 0
    for reference_words, hypothesis_words in assign_pieces(recording, cut_pieces(recording.hypothesis, speaking)):
        alignment = align_words(reference_words, hypothesis_words)
        deleted = (reference_words.middles[index] for index in alignment.deleted)
        inserted = (hypothesis_words.middles[index] for index in alignment.inserted)
        missed += sum(len(found.at(time)) < len(speaking.at(time)) for time in deleted)
        false_alarm += sum(len(found.at(time)) > len(speaking.at(time)) for time in inserted)
        errors += alignment.counts.errors
    return Breakdown(tcp.counts.errors - errors, missed, false_alarm, errors - missed - false_alarm)


def cut_pieces(utterances: Iterable[TimedWords], speaking: ActiveSpeakers) -> list[TimedWords]:
    """`utterances` of the hypothesis, cut between words where the active speakers of the reference change.

    An utterance that spans a change of speakers can thus be assigned to both. Nothing is cut where nobody speaks.
    """
    pieces = []
    for utterance in utterances:
        cuts, before = [0], None
        for index, middle in enumerate(utterance.middles):
            if speakers := speaking.at(middle):
                if before is not None and speakers != before:
                    cuts.append(index)
                before = speakers
        for first, last in zip(cuts, [*cuts[1:], len(utterance.words)], strict=True):
            words, times, middles = (
                utterance.words[first:last],
                utterance.times[first:last],
                utterance.middles[first:last],
            )
            pieces.append(TimedWords(utterance.speaker, words, times, middles))
    return pieces


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
