"""Where the errors of tcpWER come from: wrong speakers, speech that was missed, false speech, and recognition."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, fields

from mlcslm.scoring.speaker_wer import OrcScore, align_orc
from mlcslm.scoring.tcpwer import RecordingWords, TcpScore
from mlcslm.scoring.utterances import Utterance


@dataclass(frozen=True)
class Breakdown:
    """The errors of tcpWER in four parts that add up to them; none is negative.

    confusion: what tcORC-WER lacks, for which it does not matter by whom a word is said; of tcORC-WER's errors, missed:
    reference words deleted where fewer people are found than speak; false_alarm: hypothesis words inserted where more
    are found than speak; recognition: all others, made where as many are found as speak.
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


def break_down(
    recording: RecordingWords,
    tcp: TcpScore,
    orc: OrcScore,
    reference: Iterable[Utterance],
    hypothesis: Iterable[Utterance],
) -> Breakdown:
    """Parts of a recording's errors. A word is where its middle is; reference, hypothesis: its utterances' times."""
    speaking, found = ActiveSpeakers(reference), ActiveSpeakers(hypothesis)
    missed = false_alarm = errors = 0
    for deleted, inserted, stream_errors in align_orc(recording, orc):
        missed += sum(found.at(time) < speaking.at(time) for time in deleted)
        false_alarm += sum(found.at(time) > speaking.at(time) for time in inserted)
        errors += stream_errors
    if errors != orc.errors:
        raise RuntimeError(f"the alignments of tcORC-WER have {errors} errors, its search found {orc.errors}")
    return Breakdown(tcp.counts.errors - errors, missed, false_alarm, errors - missed - false_alarm)


class ActiveSpeakers:
    """How many people speak at a time, as the utterances say; one who overlaps with himself counts once."""

    def __init__(self, utterances: Iterable[Utterance]) -> None:
        intervals: dict[str, list[tuple[float, float]]] = {}
        for utterance in utterances:
            intervals.setdefault(utterance.speaker, []).append((utterance.start, utterance.end))
        changes: dict[float, int] = {}
        for spoken in intervals.values():
            last_end = float("-inf")
            for start, end in sorted(spoken):
                if (start := max(start, last_end)) < end:
                    changes[start] = changes.get(start, 0) + 1
                    changes[end] = changes.get(end, 0) - 1
                    last_end = end
        self._times = sorted(changes)
        self._counts = [0]
        for time in self._times:
            self._counts.append(self._counts[-1] + changes[time])

    def at(self, time: float) -> int:
        """People who speak at `time` (seconds); at its end an utterance is over.

        >>> spoken = [Utterance("a", "O1", 0.0, 2.0, ""), Utterance("a", "O2", 1.0, 2.0, "")]
        >>> [ActiveSpeakers(spoken).at(time) for time in (0.5, 1.0, 2.0)]
        [1, 2, 0]
        """
        return self._counts[bisect_right(self._times, time)]
