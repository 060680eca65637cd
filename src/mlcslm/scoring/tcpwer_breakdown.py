"""Where the errors of tcpWER come from: wrong speakers, speech that was missed, false speech, and recognition."""

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
    """The errors of tcpWER in four parts that add up to them; none is negative.

    confusion: what goes away when each piece of the hypothesis (`cut_pieces`) is given to the speaker it suits best;
    of the errors that are left, missed: reference words deleted where fewer people are found than speak; false_alarm:
    hypothesis words inserted where more are found than speak; recognition: all others.
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
    """Who speaks at a time, as the utterances say."""

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
        """Speakers with an utterance around `time` (seconds); at its end an utterance is over.

        >>> spoken = [Utterance("a", "O1", 0.0, 2.0, ""), Utterance("a", "O2", 1.0, 2.0, "")]
        >>> [sorted(ActiveSpeakers(spoken).at(time)) for time in (0.5, 1.0, 2.0)]
        [['O1'], ['O1', 'O2'], []]
        """
        return self._speakers[bisect_right(self._times, time)]


def break_down(
    recording: RecordingWords, tcp: TcpScore, reference: Iterable[Utterance], hypothesis: Iterable[Utterance]
) -> Breakdown:
    """Parts of a recording's errors. A word is where its middle is; reference, hypothesis: its utterances' times.

    Takes time and memory with the product of what the reference speakers say near a piece: made for two of them.
    """
    speaking, found = ActiveSpeakers(reference), ActiveSpeakers(hypothesis)
    missed = false_alarm = errors = 0
    for reference_words, hypothesis_words in give_pieces(recording, cut_pieces(recording.hypothesis, speaking)):
        alignment = align_words(reference_words, hypothesis_words)
        deleted = (reference_words.middles[place] for place in alignment.deleted)
        inserted = (hypothesis_words.middles[place] for place in alignment.inserted)
        missed += sum(len(found.at(time)) < len(speaking.at(time)) for time in deleted)
        false_alarm += sum(len(found.at(time)) > len(speaking.at(time)) for time in inserted)
        errors += alignment.counts.errors
    return Breakdown(tcp.counts.errors - errors, missed, false_alarm, errors - missed - false_alarm)


def cut_pieces(utterances: Iterable[TimedWords], speaking: ActiveSpeakers) -> list[TimedWords]:
    """`utterances` of the hypothesis, cut between words where others speak in the reference than before.

    So an utterance that runs over a change of speakers can be given to both. Where nobody speaks nothing is cut.
    """
    pieces = []
    for utterance in utterances:
        places, before = [0], None
        for place, middle in enumerate(utterance.middles):
            if speakers := speaking.at(middle):
                if before is not None and speakers != before:
                    places.append(place)
                before = speakers
        for first, last in zip(places, [*places[1:], len(utterance.words)], strict=True):
            parts = (values[first:last] for values in (utterance.words, utterance.times, utterance.middles))
            pieces.append(TimedWords(utterance.speaker, *parts))  # type: ignore[arg-type]
    return pieces


def give_pieces(recording: RecordingWords, pieces: Sequence[TimedWords]) -> list[tuple[TimedWords, TimedWords]]:
    """Each reference speaker's words with the words of the pieces given to him, errors being as few as can be.

    Found as tcORC-WER is, the two sides in each other's place: meeteval's DI-cpWER, under the time constraint, with
    pieces instead of utterances, and exact. Never more errors than tcpWER, which gives all of a hypothesis speaker's
    pieces to one reference speaker.
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
