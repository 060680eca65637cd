"""Conversational context at inference (paper, section 4.1): transcripts of the reference or of the model itself.

Own transcripts come to be while a split is decoded: within a session one utterance waits for the one before. Sessions
do not wait for each other: they advance side by side, as many as a batch holds, and an utterance is begun as soon as
the one before it is done. What comes out is what a loop over each session by itself would give.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlcslm.config.decoding import DecodingConfig
from mlcslm.decoding.batching import halved, lack_of_memory, length_buckets
from mlcslm.decoding.continuous_batching import ContinuousBatch
from mlcslm.decoding.conversations import Conversations, Row
from mlcslm.decoding.decoder import Decoder
from mlcslm.errors import FaultyInput, UserError
from mlcslm.io.parquet import read_table
from mlcslm.text.context import context_lines, utterances_before

_BATCHES_AHEAD = 8  # so many batches of utterances are encoded at a time
_REFILL_SHARE = 0.2  # places are refilled once more than such a share of them is free (benchmarks/context.py)


@dataclass
class _UnderWay:
    """An utterance whose answer is being generated, and the seconds that it took so far."""

    row: Row
    audio_tokens: int
    seconds: float = 0.0


def context_size(decoding: DecodingConfig, recipe: Mapping[str, Any], label: str) -> int:
    """How many utterances before go into a prompt: as many as in the training of the checkpoint with that `recipe`.

    Raises UserError, beginning with `label`, where the checkpoint was trained without context and is to have some.
    """
    if decoding.context == "none":
        return 0
    if not (count := recipe.get("context", 0)):
        raise UserError(
            f"{label}: the decoding has context: {decoding.context}, but the checkpoint was trained without context. "
            "Take a decoding with context: none, or a stage that has `context: 2`."
        )
    return count


def with_reference_context(rows: Sequence[Row], manifest: str | os.PathLike[str], count: int) -> list[Row]:
    """`rows` with a "context" each: the references of the `count` utterances before in `manifest`.

    Raises FaultyInput that names the utterances without a transcript, where any is needed.
    """
    known = read_table(manifest, columns=["utterance_id", "session_id", "turn", "text"]).to_pylist()
    before = utterances_before(known, count)
    needed = {one["utterance_id"]: one["text"] for row in rows for one in before[row["utterance_id"]]}
    if missing := [name for name, text in needed.items() if text is None]:
        raise FaultyInput(
            f"{manifest}: no transcript for {len(missing)} of the {len(needed)} utterances that are context of others, "
            "but the decoding has context: reference. Take context: hypotheses, or a split with transcripts.",
            [f"{name}: no text" for name in missing[:20]],
        )
    return [row | {"context": context_lines([one["text"] for one in before[row["utterance_id"]]])} for row in rows]


def decode_with_hypothesis_context(
    decoder: Decoder, rows: Sequence[Row], count: int, done: Mapping[str, Row]
) -> Iterator[list[Row]]:
    """Hypotheses of `rows` (whole sessions) in the order in which they are found, with the model's own as context.

    done: hypotheses of an earlier run, by utterance id; they are context, and not made again. Where the utterances side
    by side do not fit into memory, those under way are begun again, half as many at a time. Raises UserError where one
    alone does not fit.
    """
    found = dict(done)
    decode, size = (decode_in_slots if decoder.decoding.beams == 1 else decode_in_rounds), decoder.decoding.batch_size
    while True:
        try:
            for hypotheses in decode(decoder, Conversations(rows, count, found), size):
                found |= {hypothesis["utterance_id"]: hypothesis for hypothesis in hypotheses}
                yield hypotheses
            return
        except (RuntimeError, MemoryError) as raised:
            error = lack_of_memory(raised)
        # Out of the handler, so that nothing holds on to the tensors that were too many.
        size = halved(
            size,
            error,
            label="context: hypotheses",
            one="a single utterance does not fit into memory",
            many=f"{size} utterances side by side do",
            remedy="max_new_tokens",
        )


def decode_in_rounds(decoder: Decoder, conversations: Conversations, size: int) -> Iterator[list[Row]]:
    """Batch by batch: for searches with several beams."""
    while batch := conversations.begin(size):
        hypotheses = decoder.decode(batch)
        for hypothesis in hypotheses:
            conversations.finish(hypothesis)
        yield hypotheses


def decode_in_slots(decoder: Decoder, conversations: Conversations, size: int) -> Iterator[list[Row]]:
    """With one beam: no utterance waits for others that are merely beside it.

    Places are refilled a few at a time: to read a prompt alone costs nearly as much as to read several.
    """
    batch = ContinuousBatch(decoder.model, decoder.decoding)
    under_way: dict[str, _UnderWay] = {}
    encoded: set[str] = set()
    while True:
        started = time.perf_counter()
        possible = min(size, len(under_way) + conversations.ready)
        if possible - len(under_way) > _REFILL_SHARE * possible:
            new = conversations.begin(size - len(under_way))
            _encode(decoder, new, conversations, size, encoded)
            examples, audio_tokens = decoder.examples(new)
            batch = decoder.processor.collate(examples, side="left")
            prompts = {name: tensor.to(decoder.model.device) for name, tensor in batch.items()}
            names = [row["utterance_id"] for row in new]
            batch.begin(prompts, names)
            under_way |= dict(zip(names, map(_UnderWay, new, audio_tokens), strict=True))
        if not under_way:
            return
        answers = batch.advance()
        share = (time.perf_counter() - started) / len(under_way)
        for utterance in under_way.values():
            utterance.seconds += share
        hypotheses = []
        for name, ids in answers.items():
            done = under_way.pop(name)
            hypotheses.append(decoder.hypothesis(done.row, ids, done.audio_tokens, done.seconds))
            conversations.finish(hypotheses[-1])
        if hypotheses:
            yield hypotheses


def _encode(decoder: Decoder, rows: Sequence[Row], conversations: Conversations, size: int, encoded: set[str]) -> None:
    """Encode utterances, and with them those that come next, in batches of `size` and of similar length: alone they
    would cost more.

    encoded: ids of those that are, which is kept.
    """
    if all(row["utterance_id"] in encoded for row in rows):
        return
    upcoming = [*rows, *conversations.upcoming(_BATCHES_AHEAD * size)]
    for batch in length_buckets([row for row in upcoming if row["utterance_id"] not in encoded], size):
        decoder.audio.encode(batch)
        encoded.update(row["utterance_id"] for row in batch)
