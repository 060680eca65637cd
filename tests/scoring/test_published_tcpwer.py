"""The challenge's published tcpWER counts of its Track 2 baseline, pooled as ours are: the headline must come out."""

from __future__ import annotations

import csv
import gzip
import os
from pathlib import Path

import pytest

from mlcslm.config.languages import read_languages
from mlcslm.scoring.error_counts import ErrorCounts
from mlcslm.scoring.recordings import groups_of_recordings
from mlcslm.scoring.transcripts import TranscriptErrors, pool_transcripts

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("MLCSLM_SHARED", ROOT.parent / "shared"))
PUBLISHED = SHARED / "published/mlcslm_dev_baseline_tcpwer.csv.gz"
COUNTS = ("errors", "length", "insertions", "deletions", "substitutions")


@pytest.mark.skipif(not PUBLISHED.is_file(), reason=f"{PUBLISHED} is not here")
def test_published_baseline_pools_to_its_published_rate() -> None:
    with gzip.open(PUBLISHED, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    errors = {row["recording_id"]: ErrorCounts(*(int(row[name]) for name in COUNTS)) for row in rows}
    pooled = pool_transcripts(TranscriptErrors(counts, 0, 0, True, None) for counts in errors.values()).tcp
    assert (pooled.errors, pooled.length, len(errors)) == (335_830, 441_198, 110)
    assert round(100 * pooled.errors / pooled.length, 2) == 76.12
    groups = groups_of_recordings(errors, read_languages(ROOT / "config" / "languages.tsv"), str(PUBLISHED))
    assert len({group.group for group in groups.values()}) == 15
    assert all(groups[row["recording_id"]].recording_prefix == row["group"] for row in rows)
