"""Data of the error browser: an index of a split's utterances, and each system's answers, aligned in advance.

The page loads the index and the columns of the selected systems, some megabytes each at full size; details of single
utterances (reasoning, the raw answer) are in files of `CHUNK` utterances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from mlcslm.config.languages import Group
from mlcslm.report.data_files import write_data
from mlcslm.text.alignment import pair_units
from mlcslm.text.protocols import Protocol

CHUNK = 512
FLAGS = {
    "loop": "the answer runs into repetition",
    "cut": "truncated at the length limit",
    "malformed": "tags are missing or out of order",
    "corrected": "wrong inside <think>, right in the end",
    "nearer": "fewer errors in the end than inside <think>, but some",
    "made worse": "more errors in the end than inside <think>",
    "wrong language": "answered with another language's token",
    "no answer": "no answer for this utterance, or an empty text",
}
"""Flags of answers, in the order of their bits."""


@dataclass(frozen=True)
class Index:
    """A split's utterances. ids: in the order of the manifest; tokens: of the references, under the protocol."""

    ids: Sequence[str]
    groups: Sequence[Group]
    tokens: Sequence[list[str]]


def scored_systems(connection: duckdb.DuckDBPyConnection, split: str) -> list[dict[str, Any]]:
    """Systems scored on a split, in the config's order: name, pooled rate and its interval (percent)."""
    found = connection.execute(
        "SELECT w.system, w.wer, w.low, w.high FROM wer_by_system AS w LEFT JOIN systems AS s USING (system) "
        "WHERE split = ? ORDER BY s.rowid, w.system",
        [split],
    ).fetchall()
    return [dict(zip(("name", "wer", "low", "high"), row, strict=True)) for row in found]


def write_utterances(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    split: str,
    audio: Mapping[str, str],
    protocol: Protocol,
    done: Callable[[], Any],
) -> list[dict[str, Any]]:
    """Write `data/<split>/` into `folder`; return the split's systems as `scored_systems` does.

    audio: path of each session's audio within `folder`; sessions without one cannot be played; done: called after
    each system.
    """
    systems = scored_systems(connection, split)
    index = _write_index(connection, folder, split, audio, protocol)
    for number, system in enumerate(systems):
        _write_answers(connection, folder, (split, number, system["name"]), index, protocol)
        done()
    write_data(folder, f"{split}/comparisons", _comparisons(connection, split, systems))
    return systems


def _write_index(
    connection: duckdb.DuckDBPyConnection, folder: Path, split: str, audio: Mapping[str, str], protocol: Protocol
) -> Index:
    rows = connection.execute(
        'SELECT utterance_id, session_id, grp, speaker, "start", "end", text FROM utterances '
        "WHERE split = ? ORDER BY rowid",
        [split],
    ).fetchall()
    groups = {row[0]: Group(*row) for row in connection.execute("FROM groups").fetchall()}
    ids, session_of, group_of, speakers, starts, ends, texts = zip(*rows, strict=True) if rows else ((),) * 7
    named = list(dict.fromkeys(group_of))
    sessions = list(dict.fromkeys(zip(session_of, group_of, strict=True)))
    numbers = {session: number for number, (session, _) in enumerate(sessions)}
    index = Index(
        ids,
        [groups[name] for name in group_of],
        [protocol.reference_tokens(text or "", groups[name]) for text, name in zip(texts, group_of, strict=True)],
    )
    value = {
        "groups": [[name, groups[name].unit, groups[name].language] for name in named],
        "sessions": [[session, named.index(group), audio.get(session)] for session, group in sessions],
        "ids": ids,
        "session": [numbers[session] for session in session_of],
        "speaker": speakers,
        "start": [round(time, 3) for time in starts],
        "end": [round(time, 3) for time in ends],
        "text": texts,
        "tokens": [" ".join(tokens) for tokens in index.tokens],
    }
    write_data(folder, f"{split}/utterances", value)
    return index


def _write_answers(
    connection: duckdb.DuckDBPyConnection, folder: Path, place: tuple[str, int, str], index: Index, protocol: Protocol
) -> None:
    """Files of one system: columns for all utterances, and details in chunks."""
    split, number, system = place
    answers = list(_answers(connection, split, system))
    aligned = [
        _align(tokens, protocol.hypothesis_tokens(answer["transcript"] or "", group))
        for tokens, group, answer in zip(index.tokens, index.groups, answers, strict=True)
    ]
    columns = {name: [answer[name] for answer in answers] for name in ("errors", "length", "flags", "first")}
    steps, tokens = zip(*aligned, strict=True) if aligned else ((), ())
    write_data(folder, f"{split}/{number}/answers", {**columns, "steps": steps, "tokens": tokens})
    details = ("raw_text", "transcript", "think", "language", "tokens", "stop_reason", "seconds")
    for start in range(0, len(answers), CHUNK):
        chosen = [[answer[name] for name in details] for answer in answers[start : start + CHUNK]]
        write_data(folder, f"{split}/{number}/{start // CHUNK}", chosen)


def _answers(connection: duckdb.DuckDBPyConnection, split: str, system: str) -> Iterator[dict[str, Any]]:
    """A system's answers in the manifest's order; flags are bits in the order of `FLAGS`."""
    found = connection.execute(
        """
        SELECT
            c.errors, c.length, r.first_errors AS first, h.raw_text, h.transcript, h.think, h.language, h.tokens,
            h.stop_reason, round(h.seconds, 3) AS seconds,
            coalesce(h."loop", false)::INT
            + 2 * coalesce(h.stop_reason = 'length', false)::INT
            + 4 * coalesce(h.stop_reason = 'malformed', false)::INT
            + 8 * coalesce(r.first_errors > 0 AND r.final_errors = 0, false)::INT
            + 16 * coalesce(r.final_errors > 0 AND r.final_errors < r.first_errors, false)::INT
            + 32 * coalesce(r.final_errors > r.first_errors, false)::INT
            + 64 * coalesce(h.language <> g.token, false)::INT
            + 128 * (coalesce(trim(h.transcript), '') = '')::INT AS flags
        FROM utterances AS u
        JOIN groups AS g USING (grp)
        LEFT JOIN primary_counts AS c ON c.split = u.split AND c.utterance_id = u.utterance_id AND c.system = $system
        LEFT JOIN hypotheses AS h ON h.split = u.split AND h.utterance_id = u.utterance_id AND h.system = $system
        LEFT JOIN reflections AS r ON r.split = u.split AND r.utterance_id = u.utterance_id AND r.system = $system
            AND r.protocol = (SELECT value FROM settings WHERE key = 'protocol')
        WHERE u.split = $split
        ORDER BY u.rowid
        """,
        {"split": split, "system": system},
    )
    names = [column[0] for column in found.description]
    while rows := found.fetchmany(10_000):
        yield from (dict(zip(names, row, strict=True)) for row in rows)


def _align(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[str, str]:
    """Steps of the alignment (= S D I) and the hypothesis's tokens, joined by spaces, which tokens never contain."""
    if reference == hypothesis:
        return "=" * len(reference), " ".join(hypothesis)
    steps = [
        "=" if meant == heard else "I" if not meant else "D" if not heard else "S"
        for meant, heard in pair_units(reference, hypothesis)
    ]
    return "".join(steps), " ".join(hypothesis)


def _comparisons(
    connection: duckdb.DuckDBPyConnection, split: str, systems: Sequence[dict[str, Any]]
) -> list[list[Any]]:
    """Each pair of systems, by their numbers: pair, group, difference, interval (null: too few sessions), p-value."""
    number = {system["name"]: index for index, system in enumerate(systems)}
    found = connection.execute(
        "SELECT system_a, system_b, grp, round(difference, 3), round(low, 3), round(high, 3), round(p_value, 5) "
        "FROM comparisons WHERE measure = 'wer' AND split = ? ORDER BY ALL",
        [split],
    ).fetchall()
    return [[number[a], number[b], *values] for a, b, *values in found if a in number and b in number]
