"""Companions of tcpWER: cpWER, which ignores when words are said, and tcORC-WER, which ignores by whom."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate

from mlcslm.scoring.tcpwer import Pairing, RecordingWords, TcpScore, pair_speakers
from mlcslm.scoring.word_timing import TimedWords

MAX_STATES = 5_000_000
"""Limit on the states of the assignment search: a few seconds. Two speakers of a real session need 0.3 million."""


@dataclass(frozen=True)
class OrcScore:
    """Fewest errors when each reference utterance may be assigned to any hypothesis speaker.

    exact: whether all speakers were tried; if not, `errors` may be too high.
    """

    errors: int
    exact: bool


@dataclass(frozen=True)
class CpScore:
    """Errors of the best pairing, and the pairs: (reference speaker, hypothesis speaker), None for nobody."""

    errors: int
    pairing: Pairing


def score_cp(recording: RecordingWords) -> CpScore:
    """Errors of cpWER (Watanabe et al. 2020): best pairing of speakers, words of each concatenated, times ignored."""
    from rapidfuzz.distance import Levenshtein

    references, hypotheses = recording.reference_streams, recording.hypothesis_streams
    costs = [[Levenshtein.distance(r.words, h.words) for h in hypotheses.values()] for r in references.values()]
    reference_lengths = {speaker: len(stream.words) for speaker, stream in references.items()}
    hypothesis_lengths = {speaker: len(stream.words) for speaker, stream in hypotheses.items()}
    pairing = pair_speakers(costs, reference_lengths, hypothesis_lengths)
    rows, columns = list(references), list(hypotheses)
    errors = 0
    for r, h in pairing:
        if r is not None and h is not None:
            errors += costs[rows.index(r)][columns.index(h)]
        elif r is not None:
            errors += reference_lengths[r]
        elif h is not None:
            errors += hypothesis_lengths[h]
    return CpScore(errors, pairing)


def score_orc(recording: RecordingWords, tcp: TcpScore) -> OrcScore:
    """Errors of tcORC-WER, meeteval's ORC-WER under tcpWER's time constraint; never more than tcpWER's.

    Time and memory of the search grow with the product of what each hypothesis speaker says near an utterance. If that
    is too much (`MAX_STATES`), only the speakers paired by tcpWER and as many others as fit take part, the wordiest
    first, and the words of the rest count as insertions. If even the paired ones do not fit, the result is tcpWER's
    errors.
    """
    from meeteval.wer.matching.cy_time_constrained_orc_matching import time_constrained_orc_levenshtein_distance

    streams = {name: stream for name, stream in recording.hypothesis_streams.items() if stream.words}
    utterances = [utterance for utterance in recording.reference if utterance.words]
    paired = [h for r, h in tcp.pairing if r is not None and h in streams]
    others = sorted((name for name in streams if name not in paired), key=lambda name: -len(streams[name].words))
    tried = paired
    for other in others:
        if count_states(utterances, [streams[name] for name in [*tried, other]]) > MAX_STATES:
            break
        tried = [*tried, other]
    if not tried or count_states(utterances, [streams[name] for name in tried]) > MAX_STATES:
        return OrcScore(tcp.counts.errors, not streams)
    errors, _ = time_constrained_orc_levenshtein_distance(
        [utterance.words for utterance in utterances],
        [streams[name].words for name in tried],
        [utterance.times for utterance in utterances],
        [streams[name].times for name in tried],
    )
    errors += sum(len(streams[name].words) for name in others if name not in tried)
    return OrcScore(errors, len(tried) == len(streams))


def count_states(utterances: list[TimedWords], streams: list[TimedWords]) -> int:
    """States of the search for the best assignment of `utterances` to `streams`; time and memory grow with them."""
    if not utterances:
        return 0
    begins = list(accumulate((u.starts_to_come[0] for u in reversed(utterances)), min))[::-1]
    ends = list(accumulate((u.ends_so_far[-1] for u in utterances), max))
    states = [1] * len(utterances)
    for stream in streams:
        starts, stops = stream.starts_to_come, stream.ends_so_far
        near = (bisect_left(starts, end) - bisect_left(stops, begin) for begin, end in zip(begins, ends, strict=True))
        states = [count * (max(0, words) + 1) for count, words in zip(states, near, strict=True)]
    return sum(states)
