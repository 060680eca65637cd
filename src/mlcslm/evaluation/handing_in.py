"""From a system of the results, ours or of others, to the file that is handed in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlcslm.config import Config
from mlcslm.decoding.shards import merged_shards
from mlcslm.errors import UserError
from mlcslm.evaluation.asking import evaluation_of, protocols_of
from mlcslm.evaluation.submission import Submission, write_track_1, write_track_2
from mlcslm.evaluation.taking import take
from mlcslm.scoring.stm import read_stm
from mlcslm.workflow import Layout


def hand_in(
    config: Config, layout: Layout, system: str, split: str, track: int, out: Path, *, jobs: int
) -> dict[str, Any]:
    """Write what a system hands in on a split to `out`; return what the check found.

    Raises UserError for a system of others that is not of the track, and as `write_track_1` and `write_track_2` do.
    """
    submission = Submission(
        system, split, layout.manifest(split), Path(config.languages), protocols_of(config)[0], out, jobs
    )
    if system in config.systems:
        taken = take(evaluation_of(config, layout, system, split, jobs=jobs))
        if taken.track != track or (track == 2 and taken.transcripts is None):
            raise UserError(f"systems.{system}: no transcripts of Track {track} in its files, so none to hand in.")
        if track == 1:
            return write_track_1(submission, taken.texts)
        return write_track_2(submission, [u for spoken in (taken.transcripts or {}).values() for u in spoken])
    files = [Path(path) for path in layout.submission_inputs(system, split, track)]
    if track == 2:
        return write_track_2(submission, read_stm(files[0]))
    return write_track_1(submission, _transcripts(files, submission.manifest))


def _transcripts(shards: Sequence[Path], manifest: Path) -> dict[str, str | None]:
    columns = merged_shards(shards, manifest).select(["utterance_id", "transcript"]).to_pydict()
    return dict(zip(columns["utterance_id"], columns["transcript"], strict=True))
