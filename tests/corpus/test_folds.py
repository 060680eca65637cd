"""Folds partition the sessions: each session is in exactly one, and no group is entirely in one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcslm.corpus.folds import sessions_of_fold


@st.composite
def manifests(draw: st.DrawFn) -> list[dict[str, Any]]:
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    rows = [
        {"grp": f"group{group}", "session_id": f"group{group}_{session}"}
        for group, size in enumerate(sizes)
        for session in range(size)
        for _ in range(2)
    ]
    return draw(st.permutations(rows))


@given(rows=manifests(), count=st.integers(2, 4))
@pytest.mark.slow
def test_each_session_is_in_one_fold_and_groups_are_shared_out(rows: list[dict[str, Any]], count: int) -> None:
    folds = [sessions_of_fold(rows, (number, count)) for number in range(count)]
    assert sum(map(len, folds)) == len(set.union(*folds)) == len({row["session_id"] for row in rows})
    for group in {row["grp"] for row in rows}:
        of_group = {row["session_id"] for row in rows if row["grp"] == group}
        sizes = [len(fold & of_group) for fold in folds]
        assert max(sizes) - min(sizes) <= 1


@given(rows=manifests())
def test_the_order_of_rows_does_not_matter(rows: list[dict[str, Any]]) -> None:
    assert sessions_of_fold(rows, (0, 2)) == sessions_of_fold(rows[::-1], (0, 2))
