"""Whole turns as training examples: what one speaker says without the other, of several utterances.

A diarizer cuts where speakers change, not where an annotator began a new line, so a recogniser behind it hears several
utterances at a time. One that was trained on single utterances stops after the first of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import pyarrow as pa

from mlcslm.corpus.manifest import SCHEMA
from mlcslm.text.context import sessions_in_order

FIRST = "first_utterance_id"
"""Column of a training manifest: the first utterance of a whole turn; null for a single utterance."""
TRAINING_SCHEMA = SCHEMA.append(pa.field(FIRST, pa.string()))
_LONGEST_PAUSE_S = 2.0  # at a longer one, a detector of speech ends its stretch


def training_manifest(manifest: pa.Table, *, longest_s: float) -> pa.Table:
    """`manifest` (`SCHEMA`), followed by its turns of several utterances, each as one row (`TRAINING_SCHEMA`).

    A turn's utterances are consecutive in their session, of one speaker, and at most two seconds apart; nobody speaks
    at the same time, and all have text. A turn lasts at most `longest_s` seconds: longer ones are split between
    utterances. Its id is its first utterance's, with the number of others: `<id>+1`.
    """
    rows = manifest.to_pylist()
    turns = [
        {
            **turn[0],
            "utterance_id": f"{turn[0]['utterance_id']}+{len(turn) - 1}",
            "end": turn[-1]["end"],
            "text": " ".join(row["text"] for row in turn),
            FIRST: turn[0]["utterance_id"],
        }
        for session in sessions_in_order(rows).values()
        for turn in _turns(session, longest_s)
        if len(turn) > 1
    ]
    return pa.Table.from_pylist([*rows, *turns], schema=TRAINING_SCHEMA)


def _turns(session: Sequence[dict[str, Any]], longest_s: float) -> Iterator[list[dict[str, Any]]]:
    """Turns of a session, given its rows in order; without utterances that overlap others or have no text."""
    turn: list[dict[str, Any]] = []
    ends = accumulate((row["end"] for row in session), max, initial=0.0)
    starts = [row["start"] for row in session[1:]] + [float("inf")]
    for row, end_before, start_after in zip(session, ends, starts, strict=False):
        usable = row["text"] and end_before <= row["start"] and row["end"] <= start_after
        if turn and not (usable and _continues(turn, row, longest_s)):
            yield turn
            turn = []
        if usable:
            turn.append(row)
    if turn:
        yield turn


def _continues(turn: Sequence[dict[str, Any]], row: dict[str, Any], longest_s: float) -> bool:
    """Whether `row` belongs to the turn that its predecessors in the session make up."""
    return bool(
        row["speaker"] == turn[-1]["speaker"]
        and row["start"] - turn[-1]["end"] <= _LONGEST_PAUSE_S
        and row["end"] - turn[0]["start"] <= longest_s
    )
