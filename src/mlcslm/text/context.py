"""Conversational context (paper, section 4.1): which utterances come before, and how their transcripts enter a prompt.

The same for training and decoding, wherever the transcripts come from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from mlcslm.text.protocols import normalise_reference

Row = TypeVar("Row", bound=Mapping[str, Any])


def sessions_in_order(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Manifest rows of each session, by start time (then by speaker, as a manifest's `turn` counts them).

    >>> rows = [{"session_id": "s", "turn": 1}, {"session_id": "t", "turn": 0}, {"session_id": "s", "turn": 0}]
    >>> {name: [row["turn"] for row in session] for name, session in sessions_in_order(rows).items()}
    {'s': [0, 1], 't': [0]}
    """
    sessions: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        sessions[row["session_id"]].append(row)
    return {name: sorted(session, key=lambda row: row["turn"]) for name, session in sessions.items()}


def utterances_before(rows: Iterable[Row], count: int) -> dict[str, list[Row]]:
    """Manifest rows of the `count` utterances before each one in its session, of either speaker, oldest first, by id.

    There are fewer at the beginning of a session.
    """
    return {
        row["utterance_id"]: session[max(0, position - count) : position]
        for session in sessions_in_order(rows).values()
        for position, row in enumerate(session)
    }


def context_lines(transcripts: Sequence[str | None]) -> list[str]:
    """The context lines of a prompt, from the transcripts of the preceding utterances, oldest first.

    References are written like answers (normalised by `mlcslm-2025`), so that a model trained with references sees its
    own transcripts in the same form; empty or missing ones give no line.

    >>> context_lines(["Hello, Anna!", None, "  ", "it's me"])
    ['hello anna', "it's me"]
    """
    return [line for transcript in transcripts if (line := normalise_reference(transcript or ""))]
