"""Transcripts of a diarizer's segments by a system of Track 1: the same decoder, and its hypotheses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlcslm.config_decoding import DecodingConfig
from mlcslm.decoding.generation import DecodingPaths, decode_split
from mlcslm.languages import Group

SEGMENT_COLUMNS = ("recording", "grp", "speaker", "start", "end", "audio")


def transcribe_segments(
    checkpoint: Path,
    segments: Path,
    out: Path,
    decoding: DecodingConfig,
    languages: Mapping[str, Group],
    **options: Any,
) -> None:
    """Decode `segments` (of `diarize_manifest`) as Track 1 decodes utterances, in batches over all sessions.

    Writes hypotheses with the columns of Track 1's and the segments' own (`SEGMENT_COLUMNS`), in the segments' order,
    to `out`. Where nothing was heard, or the answer is malformed, the transcript is empty or null: no segment is left
    out. options: of `decode_split`.
    """
    decode_split(DecodingPaths(checkpoint, segments, out), decoding, languages, columns=SEGMENT_COLUMNS, **options)
