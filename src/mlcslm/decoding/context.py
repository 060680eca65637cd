"""Conversational context at inference (paper, section 4.1): the transcripts before, of the reference or the model's own.

Own transcripts come to be while a split is decoded: within a session one utterance waits for the one before. Sessions
do not wait for each other: they advance side by side, as many as a batch holds, and an utterance is begun as soon as the
one before it is done. What comes out is what a loop over each session by itself would give.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq

from mlcslm.config_decoding import DecodingConfig
from mlcslm.decoding.generation import Decoder
from mlcslm.errors import FaultyInput, UserError
from mlcslm.text.context import context_lines, sessions_in_order, utterances_before

Row = dict[str, Any]
"""An utterance of a manifest, or a hypothesis."""


def context_size(decoding: DecodingConfig, recipe: Mapping[str, Any], checkpoint: str) -> int:
    """How many utterances before go into a prompt: as many as in the training of the checkpoint with that `recipe`.

    Raises UserError where a decoding asks for context of a checkpoint that was trained without.
    """
    if decoding.context == "none":
        return 0
    if not (count := recipe.get("context", 0)):
        raise UserError(
            f"checkpoint {checkpoint}: was trained without context, but the decoding has context: {decoding.context}. "
            "Take a decoding with context: none, or a stage that has `context: 2`."
        )
    return count


def with_reference_context(rows: Sequence[Row], manifest: str | os.PathLike[str], count: int) -> list[Row]:
    """`rows` with a "context" each: the references of the `count` utterances before in `manifest`.

    Raises FaultyInput that names the utterances without a transcript, where any is needed.
    """
    known = pq.read_table(manifest, columns=["utterance_id", "session_id", "turn", "text"]).to_pylist()
    before = utterances_before(known, count)
    needed = {one["utterance_id"]: one["text"] for row in rows for one in before[row["utterance_id"]]}
    if missing := [name for name, text in needed.items() if text is None]:
        raise FaultyInput(
            f"{manifest}: no transcript for {len(missing)} of the {len(needed)} utterances that are context of others, "
            "but the decoding has context: reference. Take context: own, or a split with transcripts.",
            [f"{name}: no text" for name in missing[:20]],
        )
    return [row | {"context": context_lines([one["text"] for one in before[row["utterance_id"]]])} for row in rows]


class Conversations:
    """Sessions under way: which utterances can be decoded, given the transcripts so far.

    rows: manifest rows, whole sessions; count: utterances before whose transcripts are context; hypotheses: those there
    are already, by utterance id.
    """

    def __init__(self, rows: Sequence[Row], count: int, hypotheses: Mapping[str, Row]) -> None:
        self._count = count
        self._transcripts: dict[str, str] = {}
        self._waiting = {
            name: [row for row in session if row["utterance_id"] not in hypotheses]
            for name, session in sessions_in_order(rows).items()
        }
        self._before = utterances_before(rows, count)
        self._session_of = {row["utterance_id"]: row["session_id"] for row in rows}
        self._seconds_left = {
            name: sum(row["end"] - row["start"] for row in session) for name, session in self._waiting.items()
        }
        self._ready = {name for name, session in self._waiting.items() if session}
        for name in self._session_of.keys() & hypotheses.keys():
            self._transcripts[name] = hypotheses[name]["transcript"]

    def begin(self, limit: int) -> list[Row]:
        """At most `limit` utterances whose context is known, each with its "context".

        Sessions with the most speech left come first: a long one that is left over would be decoded alone.
        """
        chosen = sorted(self._ready, key=lambda name: (-self._seconds_left[name], name))[:limit]
        self._ready.difference_update(chosen)
        return [self._with_context(self._waiting[name][0]) for name in chosen]

    def finish(self, hypothesis: Row) -> None:
        """Take the hypothesis of an utterance that was begun: the next of its session can begin."""
        name = hypothesis["utterance_id"]
        session = self._session_of[name]
        self._transcripts[name] = hypothesis["transcript"]
        row = self._waiting[session].pop(0)
        self._seconds_left[session] -= row["end"] - row["start"]
        if self._waiting[session]:
            self._ready.add(session)

    def _with_context(self, row: Row) -> Row:
        before = self._before[row["utterance_id"]]
        return dict(row) | {"context": context_lines([self._transcripts[one["utterance_id"]] for one in before])}


def decode_with_own_context(
    decoder: Decoder, rows: Sequence[Row], count: int, done: Mapping[str, Row]
) -> Iterator[list[Row]]:
    """Hypotheses of `rows` (whole sessions) in the order in which they are found, with the model's own as context.

    done: hypotheses of an earlier run, by utterance id; they are context, and not made again.
    """
    conversations = Conversations(rows, count, done)
    while batch := conversations.begin(decoder.decoding.batch_size):
        hypotheses = decoder.decode(batch)
        for hypothesis in hypotheses:
            conversations.finish(hypothesis)
        yield hypotheses
