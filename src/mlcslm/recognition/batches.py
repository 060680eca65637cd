"""A recogniser's hypotheses for manifest rows: batches of similar length, the next audio read beside the model."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from mlcslm.config.languages import Group
from mlcslm.config.recognizers import RecognizerConfig
from mlcslm.corpus.audio import SAMPLE_RATE, Audio, read_segment
from mlcslm.decoding.batching import FittingBatches, length_buckets
from mlcslm.decoding.long_utterances import reported_pieces
from mlcslm.decoding.loops import has_loop
from mlcslm.recognition.recognizer import Answer, Recognizer
from mlcslm.runtime.progress import say

Row = dict[str, Any]
SHORTEST_S = 0.1
"""Shorter utterances are padded: some families' convolutions need more than a few hundredths of a second."""


class RecognizerDecoder:
    """A recogniser with its settings; `decode` takes manifest rows.

    languages: the groups, whose language a recogniser is told unless `config.language` is `found`. A row's own
    `language` (ISO 639-1, None: not known) overrides its group's.
    """

    def __init__(
        self, recognizer: Recognizer, config: RecognizerConfig, languages: Mapping[str, Group], label: str
    ) -> None:
        self.recognizer = recognizer
        self.config = config
        self.label = label
        self._groups = languages
        self._tokens = {group.language: group.token for group in languages.values()}

    def decode(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """A hypothesis (`decoding.decoder.SCHEMA`) for each row, in the order in which they are found.

        Reports utterances that are split, and languages that the recogniser cannot be told.
        """
        self._report_unknown(rows)
        longest_s = self.recognizer.longest_s
        pieces = reported_pieces(rows, longest_s, self.label, f"{longest_s:g} s")
        with ThreadPoolExecutor(1) as worker:
            ahead: dict[tuple[str, ...], Future[Any]] = {}

            def answer(batch: Sequence[Row]) -> list[Row]:
                started = time.perf_counter()
                waiting = ahead.pop(_key(batch), None)
                prepared = waiting.result() if waiting is not None else self._prepare(batch)
                answers = self.recognizer.answer(prepared)
                seconds = (time.perf_counter() - started) / len(batch)
                return [self._hypothesis(row, one, seconds) for row, one in zip(batch, answers, strict=True)]

            fitting = FittingBatches(answer, self.config.batch_size, self.label)
            batches = list(length_buckets(pieces.rows, self.config.batch_size))
            for batch, following in zip(batches, [*batches[1:], []], strict=True):
                if following and fitting.size == self.config.batch_size:
                    ahead[_key(following)] = worker.submit(self._prepare, following)
                for hypotheses in fitting(batch):
                    yield pieces.join(hypotheses)

    def language(self, row: Row) -> str | None:
        """The language that the recogniser is told for a row; None: it finds it."""
        wanted = self._wanted(row)
        return wanted if wanted is not None and self.recognizer.knows(wanted) else None

    def _wanted(self, row: Row) -> str | None:
        if "language" in row:
            code: str | None = row["language"]
            return code
        return None if self.config.language == "found" else self._groups[row["grp"]].language

    def _report_unknown(self, rows: Sequence[Row]) -> None:
        unknown = Counter(
            wanted for row in rows if (wanted := self._wanted(row)) is not None and not self.recognizer.knows(wanted)
        )
        if unknown and self.recognizer.can_be_told:
            which = ", ".join(f"{language} ({count:,} utterances)" for language, count in unknown.most_common())
            say(f"{self.label}: cannot be told the language {which}; it is left to find it, or to guess.")

    def _prepare(self, rows: Sequence[Row]) -> Any:
        audio = [_padded(read_segment(row["audio"], row["start"], row["end"])) for row in rows]
        return self.recognizer.prepare(audio, [self.language(row) for row in rows])

    def _hypothesis(self, row: Row, answer: Answer, seconds: float) -> Row:
        code = answer.language
        return {
            "utterance_id": row["utterance_id"],
            "raw_text": answer.raw,
            "language": None if code is None else self._tokens.get(code, f"<LANG_{code.upper()}>"),
            "transcript": answer.text,
            "think": None,
            "tokens": len(answer.ids) + answer.ended,
            "audio_tokens": 0,
            "stop_reason": "length" if not answer.ended else "end" if answer.well_formed else "malformed",
            "loop": has_loop(answer.ids),
            "seconds": seconds,
        }


def _padded(audio: Audio) -> Audio:
    """Audio with silence behind it up to `SHORTEST_S`."""
    return np.pad(audio, (0, max(0, round(SHORTEST_S * SAMPLE_RATE) - len(audio))))


def _key(rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(row["utterance_id"] for row in rows)
