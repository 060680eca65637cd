"""The challenge's published tcpWER counts of its Track 2 baseline, pooled like ours, give its headline rate."""

from __future__ import annotations

from pathlib import Path

from mlcslm.config.languages import read_languages
from mlcslm.scoring.error_counts import ErrorCounts
from mlcslm.scoring.recordings import groups_of_recordings
from mlcslm.scoring.transcripts import TranscriptErrors, pool_transcripts

ROOT = Path(__file__).parents[2]


def test_published_baseline_pools_to_its_published_rate(published_sums) -> None:
    groups = published_sums(track=2)
    counts = [ErrorCounts(**{field: group[field] for field in ErrorCounts.__dataclass_fields__}) for group in groups]
    pooled = pool_transcripts(TranscriptErrors(errors, 0, 0, True, None) for errors in counts).tcp
    assert (pooled.errors, pooled.length, sum(group["recordings"] for group in groups)) == (335_830, 441_198, 110)
    assert f"{100 * pooled.errors / pooled.length:.2f}" == "76.12"


def test_published_recordings_belong_to_their_groups(published_sums) -> None:
    expected = {f"{row['recording_prefix']}_0517_007": row["group"] for row in published_sums(track=2)}
    found = groups_of_recordings(expected, read_languages(ROOT / "config" / "languages.tsv"), "published")
    assert len(expected) == 15
    assert {recording: group.group for recording, group in found.items()} == expected
