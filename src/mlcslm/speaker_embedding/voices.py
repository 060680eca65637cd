"""Voices to train a speaker embedding on: the speakers of conversations and of speaker corpora."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import numpy as np

from mlcslm.corpus.audio import SAMPLE_RATE, count_samples
from mlcslm.errors import UserError
from mlcslm.io.parquet import read_table
from mlcslm.speaker_embedding.corpora import ROOT

Segment = tuple[str, float, float]
"""Audio file, start and end in seconds."""

_MIN_UTTERANCE_S = 0.3


class Voices(Protocol):
    """Voices, numbered from 0, from which segments can be drawn."""

    def __len__(self) -> int: ...

    def segment(self, voice: int, seconds: float, rng: np.random.Generator) -> Segment:
        """Draw `seconds` of one utterance of `voice`, or all of it if it is shorter."""
        ...


class ConversationVoices:
    """The speakers of a manifest: one per session and name, since speakers are not identified across sessions.

    Utterances are drawn in proportion to their length; those under 0.3 s are skipped. sessions: use only this many,
    evenly spread. Raises UserError if the manifest has fewer than two speakers.
    """

    def __init__(self, manifest: str | os.PathLike[str], sessions: int | None = None) -> None:
        voices: dict[tuple[str, str], list[Segment]] = {}
        for row in read_table(manifest, columns=["session_id", "speaker", "audio", "start", "end"]).to_pylist():
            if row["end"] - row["start"] >= _MIN_UTTERANCE_S:
                utterance = row["audio"], row["start"], row["end"]
                voices.setdefault((row["session_id"], row["speaker"]), []).append(utterance)
        names = sorted({session for session, _ in voices})
        if sessions is not None and sessions < len(names):
            chosen = {names[at * len(names) // sessions] for at in range(sessions)}
            voices = {name: utterances for name, utterances in voices.items() if name[0] in chosen}
        if len(voices) < 2:
            raise UserError(
                f"{manifest}: {len(voices)} speaker(s) with utterances of {_MIN_UTTERANCE_S} s or more; a speaker "
                "embedding needs at least two."
            )
        self.utterances = [voices[name] for name in sorted(voices)]

    def __len__(self) -> int:
        return len(self.utterances)

    def segment(self, voice: int, seconds: float, rng: np.random.Generator) -> Segment:
        """See `Voices`."""
        utterances = self.utterances[voice]
        lengths = np.array([end - start for _, start, end in utterances])
        return _part_of(utterances[rng.choice(len(utterances), p=lengths / lengths.sum())], seconds, rng)


class CorpusVoices:
    """The speakers of a corpus, from its index (`corpora.SCHEMA`). A speaker's utterances are equally likely.

    Lengths are read as utterances are drawn: a pass over millions of headers would take hours. Paths stay in Arrow's
    memory, which data workers share.
    """

    def __init__(self, index: str | os.PathLike[str]) -> None:
        table = read_table(index)
        self.root = Path(table.schema.metadata[ROOT].decode())
        self._paths = table["path"].combine_chunks()
        codes = table["speaker"].combine_chunks().dictionary_encode().indices.to_numpy()
        self._first = np.append(np.flatnonzero(np.diff(codes, prepend=-1)), len(codes))

    def __len__(self) -> int:
        return len(self._first) - 1

    def segment(self, voice: int, seconds: float, rng: np.random.Generator) -> Segment:
        """See `Voices`. Raises UserError if the file's header cannot be read."""
        row = int(rng.integers(self._first[voice], self._first[voice + 1]))
        path = str(self.root / self._paths[row].as_py())
        return _part_of((path, 0.0, count_samples(path) / SAMPLE_RATE), seconds, rng)


class JoinedVoices:
    """The voices of several sources, one source after another."""

    def __init__(self, sources: Sequence[Voices]) -> None:
        self.sources = sources
        self._ends = list(accumulate(map(len, sources)))

    def __len__(self) -> int:
        return self._ends[-1]

    def segment(self, voice: int, seconds: float, rng: np.random.Generator) -> Segment:
        """See `Voices`."""
        source = bisect_right(self._ends, voice)
        before = self._ends[source - 1] if source else 0
        return self.sources[source].segment(voice - before, seconds, rng)


def _part_of(utterance: Segment, seconds: float, rng: np.random.Generator) -> Segment:
    path, start, end = utterance
    if end - start > seconds:
        start += rng.uniform(0, end - start - seconds)
        end = start + seconds
    return path, start, end
