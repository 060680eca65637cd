"""Conversational context (paper, section 4.1): which utterances come before, and how their transcripts enter a prompt.

The same for training and for decoding, whoever the transcripts are of.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlcslm.text.protocols import normalise_reference


def sessions_in_order(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Manifest rows of each session, by start time (then by speaker, as a manifest's `turn` counts them).

    >>> rows = [{"session_id": "s", "turn": 1}, {"session_id": "t", "turn": 0}, {"session_id": "s", "turn": 0}]
    >>> {name: [row["turn"] for row in session] for name, session in sessions_in_order(rows).items()}
    {'s': [0, 1], 't': [0]}
    """
    sessions: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        sessions[row["session_id"]].append(row)
    return {name: sorted(session, key=lambda row: row["turn"]) for name, session in sessions.items()}


def utterances_before(rows: Iterable[Mapping[str, Any]], count: int) -> dict[str, list[Mapping[str, Any]]]:
    """Manifest rows of the `count` utterances before each, of either speaker in its session, oldest first, by its id.

    At the beginning of a session there are fewer.
    """
    return {
        row["utterance_id"]: session[max(0, place - count) : place]
        for session in sessions_in_order(rows).values()
        for place, row in enumerate(session)
    }


def context_lines(transcripts: Sequence[str | None]) -> list[str]:
    """The lines that a prompt takes from the transcripts of the utterances before, oldest first.

    References are written as answers are (normalised by `mlcslm-2025`), so that a model finds its own transcripts where
    it was trained with references; what is empty or missing gives no line.

    >>> context_lines(["Hello, Anna!", None, "  ", "it's me"])
    ['hello anna', "it's me"]
    """
    return [line for transcript in transcripts if (line := normalise_reference(transcript or ""))]
