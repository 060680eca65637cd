"""Conversations being decoded: which utterances are ready, when each needs the transcripts of those before it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from mlcslm.text.context import context_lines, sessions_in_order, utterances_before

Row = dict[str, Any]
"""An utterance of a manifest, or a hypothesis."""


class Conversations:
    """The sessions of a split and their transcripts so far.

    rows: manifest rows, whole sessions; count: how many preceding utterances are context; hypotheses: existing ones, by
    utterance id.
    """

    def __init__(self, rows: Sequence[Row], count: int, hypotheses: Mapping[str, Row]) -> None:
        sessions = sessions_in_order(rows)
        self._before = utterances_before(rows, count)
        self._session_of = {row["utterance_id"]: row["session_id"] for row in rows}
        self._transcripts = {name: _as_context(hypotheses[name]) for name in self._session_of if name in hypotheses}
        self._waiting = {
            name: [row for row in session if row["utterance_id"] not in hypotheses]
            for name, session in sessions.items()
        }
        self._seconds_left = {
            name: sum(row["end"] - row["start"] for row in session) for name, session in self._waiting.items()
        }
        self._ready = {name for name, session in self._waiting.items() if session}

    @property
    def ready(self) -> int:
        """How many utterances could start now: those whose context is known."""
        return len(self._ready)

    def begin(self, limit: int) -> list[Row]:
        """At most `limit` utterances whose context is known, each with its "context".

        Sessions with the most speech left come first, so that no long one is left to be decoded alone.
        """
        chosen = sorted(self._ready, key=lambda name: (-self._seconds_left[name], name))[:limit]
        self._ready.difference_update(chosen)
        return [self._with_context(self._waiting[name][0]) for name in chosen]

    def upcoming(self, limit: int) -> list[Row]:
        """At most `limit` utterances not yet started: the next of each session, then the ones after those."""
        names = sorted(self._waiting, key=lambda name: (-self._seconds_left[name], name))
        sessions = [self._waiting[name][0 if name in self._ready else 1 :] for name in names]
        nearest = (row for turn in itertools.zip_longest(*sessions) for row in turn if row is not None)
        return list(itertools.islice(nearest, limit))

    def finish(self, hypothesis: Row) -> None:
        """Record the hypothesis of a started utterance: the next of its session can start."""
        name = hypothesis["utterance_id"]
        session = self._session_of[name]
        self._transcripts[name] = _as_context(hypothesis)
        row = self._waiting[session].pop(0)
        self._seconds_left[session] -= row["end"] - row["start"]
        if self._waiting[session]:
            self._ready.add(session)

    def _with_context(self, row: Row) -> Row:
        before = self._before[row["utterance_id"]]
        return dict(row) | {"context": context_lines([self._transcripts[one["utterance_id"]] for one in before])}


def _as_context(hypothesis: Row) -> str:
    """Its transcript; empty for an answer that never ended, which the next one would continue (docs/context.md)."""
    return "" if hypothesis["stop_reason"] == "length" else hypothesis["transcript"]
