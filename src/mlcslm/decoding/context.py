"""Conversational context at inference (paper, section 4.1): transcripts of the reference or of the model itself.

The model's own transcripts only appear while a split is decoded: within a session, each utterance waits for the one
before. Sessions do not wait for each other: they advance side by side, as many as fit in a batch, and an utterance
starts as soon as the one before it is done. The result is that of a plain loop over each session.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlcslm.config.decoding import DecodingConfig
from mlcslm.decoding.batching import halved, lack_of_memory, length_buckets, with_next
from mlcslm.decoding.continuous_batching import ContinuousBatch
from mlcslm.decoding.conversations import Conversations, Row
from mlcslm.decoding.decoder import Decoder
from mlcslm.errors import FaultyInput, UserError
from mlcslm.io.parquet import read_table
from mlcslm.text.context import context_lines, utterances_before

_BATCHES_AHEAD = 8  # batches of utterances encoded at a time
_REFILL_SHARE = 0.2  # slots are refilled once more than this share is free (benchmarks/context.py)


@dataclass
class _UnderWay:
    """An utterance whose answer is being generated, and the seconds it has taken so far."""

    row: Row
    audio_tokens: int
    seconds: float = 0.0


def context_size(decoding: DecodingConfig, recipe: Mapping[str, Any], label: str) -> int:
    """How many preceding utterances go into a prompt: as many as the checkpoint with this `recipe` was trained with.

    Raises UserError, beginning with `label`, if the decoding has context but the checkpoint was trained without.
    """
    if decoding.context == "none":
        return 0
    if not (count := recipe.get("context", 0)):
        raise UserError(
            f"{label}: the decoding has context: {decoding.context}, but the checkpoint was trained without context. "
            "Use a decoding with context: none, or a stage with `context: 2`."
        )
    return count


def with_reference_context(rows: Sequence[Row], manifest: str | os.PathLike[str], count: int) -> list[Row]:
    """`rows`, each with a "context": the references of the `count` utterances before it in `manifest`.

    Raises FaultyInput naming the utterances that lack a transcript and are needed.
    """
    known = read_table(manifest, columns=["utterance_id", "session_id", "turn", "text"]).to_pylist()
    before = utterances_before(known, count)
    needed = {one["utterance_id"]: one["text"] for row in rows for one in before[row["utterance_id"]]}
    if missing := [name for name, text in needed.items() if text is None]:
        raise FaultyInput(
            f"{manifest}: no transcript for {len(missing)} of the {len(needed)} utterances used as context, "
            "but the decoding has context: reference. Use context: hypotheses, or a split with transcripts.",
            [f"{name}: no text" for name in missing[:20]],
        )
    return [row | {"context": context_lines([one["text"] for one in before[row["utterance_id"]]])} for row in rows]


def decode_with_hypothesis_context(
    decoder: Decoder, rows: Sequence[Row], count: int, done: Mapping[str, Row]
) -> Iterator[list[Row]]:
    """Hypotheses of `rows` (whole sessions) in the order in which they are found, with earlier ones as context.

    done: hypotheses of an earlier run, by utterance id: used as context, not decoded again. If the utterances side by
    side do not fit into memory, unfinished ones start over, half as many at a time. Raises UserError if a single one
    does not fit.
    """
    found = dict(done)
    one_answer = decoder.decoding.beams == 1 and decoder.decoding.consensus is None
    decode, size = (decode_in_slots if one_answer else decode_in_rounds), decoder.decoding.batch_size
    while True:
        try:
            for hypotheses in decode(decoder, Conversations(rows, count, found), size):
                found |= {hypothesis["utterance_id"]: hypothesis for hypothesis in hypotheses}
                yield hypotheses
            return
        except (RuntimeError, MemoryError) as raised:
            error = lack_of_memory(raised)
        # Outside the handler, so that nothing holds on to the failed batch's tensors.
        size = halved(
            size,
            error,
            label="context: hypotheses",
            one="a single utterance does not fit into memory",
            many=f"{size} utterances side by side do",
            remedy="max_new_tokens",
        )


def decode_in_rounds(decoder: Decoder, conversations: Conversations, size: int) -> Iterator[list[Row]]:
    """Batch by batch: for searches with several beams or candidates."""
    while batch := conversations.begin(size):
        hypotheses = decoder.decode(batch)
        for hypothesis in hypotheses:
            conversations.finish(hypothesis)
        yield hypotheses


def decode_in_slots(decoder: Decoder, conversations: Conversations, size: int) -> Iterator[list[Row]]:
    """With one beam: no utterance waits for unrelated ones.

    Slots are refilled a few at a time: reading one prompt costs nearly as much as reading several.
    """
    slots = ContinuousBatch(decoder.model, decoder.decoding)
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
            slots.begin(prompts, names)
            under_way |= dict(zip(names, map(_UnderWay, new, audio_tokens), strict=True))
        if not under_way:
            return
        answers = slots.advance()
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
    """Encode utterances together with the ones that come next, in batches of `size` and similar length: it is cheaper.

    encoded: ids of the utterances encoded so far; updated.
    """
    if all(row["utterance_id"] in encoded for row in rows):
        return
    upcoming = [*rows, *conversations.upcoming(_BATCHES_AHEAD * size)]
    new = [row for row in upcoming if row["utterance_id"] not in encoded]
    for batch, following in with_next(length_buckets(new, size)):
        decoder.audio.prepare([*batch, *following])
        decoder.audio.encode(batch)
        encoded.update(row["utterance_id"] for row in batch)
