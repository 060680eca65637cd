"""Sessions parted into folds, so that a model can decode training speech that it has not seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def sessions_of_fold(rows: Iterable[Mapping[str, Any]], fold: tuple[int, int]) -> set[str]:
    """Sessions of fold (number, count): within each group they take turns in the order of their names.

    rows: a manifest's, with `grp` and `session_id`. A group of fewer sessions than folds is missing from some.

    >>> rows = [{"grp": "Thai", "session_id": f"Thai_{number}"} for number in (3, 1, 2, 1)]
    >>> sorted(sessions_of_fold(rows, (0, 2))), sessions_of_fold(rows, (1, 2))
    (['Thai_1', 'Thai_3'], {'Thai_2'})
    """
    number, count = fold
    of_group: dict[str, set[str]] = {}
    for row in rows:
        of_group.setdefault(row["grp"], set()).add(row["session_id"])
    return {session for sessions in of_group.values() for session in sorted(sessions)[number::count]}
