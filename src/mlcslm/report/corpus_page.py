"""The corpus page: what each split holds by group, and what stands out, from the statistics beside the manifests."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import duckdb

from mlcslm.config.schema import Split
from mlcslm.corpus.statistics import CorpusStatistics, GroupStatistics, Outlier, sessions_in_both
from mlcslm.errors import UserError
from mlcslm.io.files import read_json
from mlcslm.report.tables import utterances_link
from mlcslm.workflow.paths import statistics_file

SPLITS: tuple[Split, ...] = get_args(Split)
MOST_LISTED = 50
"""Outliers of a kind on the page; the file has the others."""
_REMEDY = "Delete it: `mlcslm manifest … --stats` or the workflow rebuilds it."


def corpus_splits(
    connection: duckdb.DuckDBPyConnection, results: Path, browsable: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Splits that have statistics below the folder `results`, as `corpus.html.j2` takes them.

    browsable: splits of the error browser, with a system of each, so that outliers link to it. Raises UserError for a
    statistics file that cannot be read.
    """
    found = {split: _read(path) for split in SPLITS if (path := statistics_file(results, split)).is_file()}
    shared = _sessions_in_two_splits(connection) if found else {}
    return [
        {
            "name": split,
            "file": statistics_file(results, split).name,
            "groups": [_cells(group) for group in statistics.groups],
            "total": _total(statistics.groups),
            "kinds": _kinds([*statistics.outliers, *shared.get(split, ())], split, browsable.get(split)),
        }
        for split, statistics in found.items()
    ]


def _read(path: Path) -> CorpusStatistics:
    values = read_json(path, _REMEDY)
    try:
        groups = [GroupStatistics(**group) for group in values["groups"]]
        outliers = [Outlier(**{**outlier, "names": tuple(outlier["names"])}) for outlier in values["outliers"]]
    except (TypeError, KeyError) as error:
        raise UserError(f"{path}: not a statistics file of this version ({error}). {_REMEDY}") from None
    return CorpusStatistics(groups, outliers)


def _sessions_in_two_splits(connection: duckdb.DuckDBPyConnection) -> dict[str, list[Outlier]]:
    """Sessions that are also in an earlier split, by split: no manifest alone can tell."""
    tables = {
        split: connection.sql(
            'SELECT session_id, start, "end", text FROM utterances WHERE split = ?', params=[split]
        ).to_arrow_table()
        for split in SPLITS
    }
    found: dict[str, list[Outlier]] = {}
    for earlier, later in itertools.combinations(SPLITS, 2):
        found.setdefault(later, []).extend(sessions_in_both(tables[later].to_pylist(), earlier, tables[earlier]))
    return found


def _cells(group: GroupStatistics) -> dict[str, Any]:
    return {
        "label": group.group,
        "counts": [f"{number:,}" for number in (group.sessions, group.speakers, group.utterances)],
        "hours": [f"{hours:.2f}" for hours in (group.recorded_h, group.speech_h)],
        "seconds": " ".join(f"{value:.1f}" for value in group.seconds),
        "characters": " ".join(f"{value:.1f}" for value in group.characters_a_second),
        "silence": f"{100 * group.silence:.1f}",
        "clipping": f"{100 * group.clipping:.2g}",
        "scripts": ", ".join(f"{name} {100 * share:.3g}" for name, share in list(group.scripts.items())[:3]) or "–",
    }


def _total(groups: Sequence[GroupStatistics]) -> dict[str, str]:
    return {
        "recorded": f"{sum(group.recorded_h for group in groups):.1f}",
        "speech": f"{sum(group.speech_h for group in groups):.1f}",
        "sessions": f"{sum(group.sessions for group in groups):,}",
        "utterances": f"{sum(group.utterances for group in groups):,}",
    }


def _kinds(outliers: Sequence[Outlier], split: str, system: str | None) -> list[dict[str, Any]]:
    """Outliers by kind; names of utterances link to the error browser where it has the split."""
    kinds = []
    for why in dict.fromkeys(outlier.why for outlier in outliers):
        those = [outlier for outlier in outliers if outlier.why == why]
        rows = [
            {"names": [{"text": name, "link": _link(name, split, system)} for name in one.names], "found": one.found}
            for one in those[:MOST_LISTED]
        ]
        kinds.append({"why": why, "count": f"{len(those):,}", "rows": rows, "more": max(0, len(those) - MOST_LISTED)})
    return kinds


def _link(name: str, split: str, system: str | None) -> str | None:
    return None if system is None else utterances_link(split=split, a=system, text=name)
