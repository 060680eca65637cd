"""Data of the page on words: which of them each system gets wrong, and what it hears instead."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from mlcslm.report.data_files import write_data

MOST_CONFUSIONS = 500
"""Confusions of a system in a group that the page has, most frequent first; the database has all."""


def write_words(connection: duckdb.DuckDBPyConnection, folder: Path, split: str, systems: Sequence[str]) -> None:
    """Write `data/<split>/words` and, for each of `systems` by its number, `data/<split>/<number>/words`.

    The first has the words that any of the systems got wrong, most frequent first, each with its group and how often it
    occurs; the others how often a system got each of them wrong, and its confusions, inserted and missing words among
    them.
    """
    found = connection.execute(
        "SELECT grp, word, max(occurrences) FROM words WHERE split = ? AND list_contains(?, system) "
        "GROUP BY grp, word HAVING max(wrong) > 0 ORDER BY max(occurrences) DESC, grp, word",
        [split, list(systems)],
    ).fetchall()
    groups = [
        group
        for (group,) in connection.execute(
            "SELECT DISTINCT grp FROM token_pairs WHERE split = ? AND list_contains(?, system) ORDER BY grp",
            [split, list(systems)],
        ).fetchall()
    ]
    number = {group: place for place, group in enumerate(groups)}
    value = {
        "groups": groups,
        "group": [number[group] for group, _, _ in found],
        "word": [word for _, word, _ in found],
        "occurrences": [count for _, _, count in found],
    }
    write_data(folder, f"{split}/words", value)
    for place, system in enumerate(systems):
        wrong = {
            (group, word): count
            for group, word, count in connection.execute(
                "SELECT grp, word, wrong FROM words WHERE split = ? AND system = ? AND wrong > 0", [split, system]
            ).fetchall()
        }
        confusions = connection.execute(
            "SELECT grp, reference, hypothesis, count FROM confusions WHERE split = ? AND system = ? QUALIFY "
            "row_number() OVER (PARTITION BY grp ORDER BY count DESC, reference, hypothesis) <= ? "
            "ORDER BY count DESC, grp, reference, hypothesis",
            [split, system, MOST_CONFUSIONS],
        ).fetchall()
        counts = [wrong.get((group, word), 0) for group, word, _ in found]
        pairs = [[number[group], *pair] for group, *pair in confusions]
        write_data(folder, f"{split}/{place}/words", {"wrong": counts, "confusions": pairs})
