"""The page of bounds: one chart of candidates and one of transcripts for each split, with the database's numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlcslm.report.bounds_charts import bounds_sections
from mlcslm.results.database import open_database


def test_lines_are_oracles_and_marks_what_was_chosen(toy_database: Path) -> None:
    with open_database(toy_database) as connection:
        sections = {
            section["heading"]: section["charts"][0]["figure"]["data"] for section in bounds_sections(connection)
        }
    assert list(sections) == [
        "Choosing among candidates (dev)",
        "By group, candidates (dev)",
        "Choosing between first and final transcript (dev)",
        "By group, transcripts (dev)",
    ]
    best, chosen = sections["Choosing among candidates (dev)"]
    # 7, 5 and 3 errors of 20 with one, two and three candidates; 4 with the one that was chosen.
    assert (best["x"], best["y"]) == ([1, 2, 3], pytest.approx([35.0, 25.0, 15.0]))
    assert (chosen["x"], chosen["y"]) == ([3], [20.0])
    final, better = sections["Choosing between first and final transcript (dev)"]
    # 6 errors of 20 in the final transcripts, 4 in the better ones.
    assert (final["x"], better["x"]) == ([30.0], [20.0])
    (by_group,) = sections["By group, candidates (dev)"]
    assert by_group["x"] == ["English-American", "French", "Thai"] and by_group["text"] == [["8.3", "50.0", "16.7"]]
