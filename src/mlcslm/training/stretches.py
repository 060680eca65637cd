"""Stretches of conversation as training examples: what several speakers say, and when (template `diarized`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

from mlcslm.text.context import sessions_in_order
from mlcslm.text.diarized import Said
from mlcslm.text.protocols import normalise_reference

SAID = "said"
"""Key of a stretch's row: who says what when, in seconds of the session."""


def stretches_of(rows: Sequence[dict[str, Any]], longest_s: float) -> list[dict[str, Any]]:
    """Stretches of up to `longest_s` seconds of the sessions in `rows` (of a manifest), each as one row.

    They begin and end where nobody speaks. Every session is cut twice: into stretches as long as possible, and into
    ones of at most half of that, because a decoded session ends, and pauses, anywhere. One in which an utterance has no
    text is left out. A row is its first utterance's, with the end of the last, `said`, the words alone as its text, and
    an id that adds the number of other utterances.
    """
    found: dict[str, dict[str, Any]] = {}
    for session in sessions_in_order(rows).values():
        for longest in (longest_s, longest_s / 2):
            for stretch in _tiles(session, longest):
                if all(row["text"] for row in stretch):
                    row = _row(stretch)
                    found[row["utterance_id"]] = row
    return list(found.values())


def _tiles(session: Sequence[dict[str, Any]], longest_s: float) -> Iterator[list[dict[str, Any]]]:
    """The session's utterances in stretches of at most `longest_s`; without those that speak on for longer."""
    ends = accumulate((row["end"] for row in session), max, initial=0.0)
    blocks: list[list[dict[str, Any]]] = []  # utterances that overlap one another stay together
    for row, end_before in zip(session, ends, strict=False):
        if blocks and row["start"] < end_before:
            blocks[-1].append(row)
        else:
            blocks.append([row])
    tile: list[dict[str, Any]] = []
    for block in blocks:
        if tile and _end(block) - tile[0]["start"] > longest_s:
            yield tile
            tile = []
        if _end(block) - block[0]["start"] <= longest_s:
            tile = [*tile, *block]
    if tile:
        yield tile


def _end(rows: Sequence[dict[str, Any]]) -> float:
    return float(max(row["end"] for row in rows))


def _row(stretch: Sequence[dict[str, Any]]) -> dict[str, Any]:
    numbers: dict[str, int] = {}
    said = [
        Said(
            row["start"],
            row["end"],
            numbers.setdefault(row["speaker"], len(numbers) + 1),
            normalise_reference(row["text"]),
        )
        for row in stretch
    ]
    return {
        **stretch[0],
        "utterance_id": f"{stretch[0]['utterance_id']}~{len(stretch) - 1}",
        "end": _end(stretch),
        "text": " ".join(one.text for one in said),
        SAID: said,
    }
